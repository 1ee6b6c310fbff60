"""Health while training: measured beside the loss, without any effect on it."""

import json

import numpy as np
import pytest
import torch
from harness import (
    METHODS,
    largest_difference,
    load_weights,
    make_config,
    read_curve,
    run_tool,
    save_config,
    train_here,
)
from PIL import Image

from mmmim.datasets.transforms import LoadImage, Resize
from mmmim.evaluation.rankme import rankme
from mmmim.registry import MODELS

pytestmark = pytest.mark.runs

PIPELINE = [dict(type='LoadImage'), dict(type='Resize', size=16), dict(type='PackImage')]


def health_config(work_dir, images, method='mae', held_out=None, epochs=2, hook=True, **overrides):
    data = dict(type='ImageFolder', data_root=str(held_out or images), pipeline=PIPELINE)
    hooks = [dict(type='HealthHook', interval=1, dataset=data, num_images=50, batch_size=16, num_workers=0)]
    return make_config(
        work_dir,
        images,
        method,
        epochs=epochs,
        **{'custom_hooks': hooks if hook else [], 'experiment_name': f'{work_dir}{len(overrides)}', **overrides},
    )


def measured(work_dir):
    return [line for line in read_curve(work_dir) if 'health/rankme' in line]


def record(work_dir):
    return json.loads((work_dir / 'run.json').read_text())


@pytest.mark.parametrize('method', sorted(METHODS))
def test_it_is_recorded_for_every_method_and_changes_nothing_in_training(tmp_path, image_root, method):
    for name in ('with', 'without'):
        train_here(health_config(tmp_path / name, image_root, method, hook=name == 'with'))
    assert largest_difference(load_weights(tmp_path / 'with'), load_weights(tmp_path / 'without')) == 0
    lines = measured(tmp_path / 'with')
    assert [line['iter'] for line in lines] == [0, 4, 8]
    for line in lines:
        values = {key: value for key, value in line.items() if key.startswith('health/')}
        assert len(values) == 6 and np.isfinite(list(values.values())).all()
        assert 1 <= line['health/rankme'] <= 32 and 0 <= line['health/feature_spread'] <= 1
    found = record(tmp_path / 'with')['health']
    assert found['verdict'] == 'too few images' and found['rankme'] == round(lines[-1]['health/rankme'], 3)
    assert (found['iter'], found['images'], found['ceiling']) == (8, 50, 32)
    assert 'health' not in record(tmp_path / 'without') and record(tmp_path / 'with')['finished']
    judged_by_loss = {check['name'] for check in found['checks']} & {'still falling', 'flat'}
    assert not judged_by_loss or method in ('mae', 'cmae')  # the others have two players, or a moving target


def test_the_numbers_are_those_of_the_exported_weights(tmp_path, image_root):
    train_here(health_config(tmp_path / 'run', image_root))
    model = MODELS.build(METHODS['mae']).eval()
    model.load_state_dict(load_weights(tmp_path / 'run'))
    files = sorted(image_root.rglob('*.jpg'))
    files = [files[(2 * k + 1) * 64 // 100] for k in range(50)]  # evenly spread
    steps = [LoadImage(), Resize(size=16)]
    arrays = []
    for path in files:
        sample = dict(img_path=str(path))
        for step in steps:
            sample = step(sample)
        arrays.append(np.array(sample['img']))
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = model.extract_features(model.data_preprocessor(dict(inputs=images))['inputs'])
    line = measured(tmp_path / 'run')[-1]
    assert line['health/rankme'] == pytest.approx(rankme(features), rel=1e-4)
    within = np.stack(arrays).astype(np.float64).std(axis=(1, 2)).mean(axis=1)
    assert line['health/pixel_std'] == pytest.approx(np.sort(within)[24], rel=1e-4)
    assert line['health/flat_images'] == pytest.approx(100 * (within < 4).mean())


def test_two_processes_measure_what_one_does(tmp_path, image_root):
    # what depends on the rank (stochastic depth), or amplifies rounding (AdamW's first steps), is left out
    calm = {'model.backbone.drop_path_rate': 0.0, 'base_lr': 1e-4}
    lines = []
    for processes in (1, 2):
        config = health_config(tmp_path / f'of_{processes}', image_root, **calm)
        run_tool('train.py', save_config(config, tmp_path / f'{processes}.py'), processes=processes)
        lines.append(measured(tmp_path / f'of_{processes}'))
    assert len(lines[0]) == len(lines[1]) == 3
    for one, two in zip(*lines):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-5)
    assert record(tmp_path / 'of_2')['health']['verdict'] == 'too few images'


def test_a_resumed_run_measures_nothing_twice_and_ends_with_a_verdict(tmp_path, image_root):
    often = {'default_hooks.checkpoint.interval_iters': 3, 'default_hooks.checkpoint.save_last': False}
    train_here(health_config(tmp_path / 'run', image_root, **{'train_cfg.max_iters': 7, **often}))
    assert 'health' not in record(tmp_path / 'run')
    at_start = measured(tmp_path / 'run')[0]
    train_here(health_config(tmp_path / 'run', image_root, resume=True))
    lines = measured(tmp_path / 'run')
    assert [line['iter'] for line in lines] == [0, 4, 8] and lines[0] == at_start
    found = record(tmp_path / 'run')['health']
    assert found['iter'] == 8 and found['verdict'] == 'too few images'  # its own checkpoint is no start


def test_few_images_do_for_a_run_that_begins_with_weights(tmp_path, image_root):
    start = dict(name='timm:NAME', kind='public', licence='mit')
    train_here(health_config(tmp_path / 'run', image_root, start=start))
    found = record(tmp_path / 'run')
    assert found['start']['name'] == 'timm:NAME' and 'too few images' != found['health']['verdict']
    assert next(check for check in found['health']['checks'] if 'looks' in check['value'])['value'].endswith('weights')


def test_images_of_one_colour_are_named(tmp_path):
    (tmp_path / 'plain').mkdir()
    for i in range(64):
        Image.new('RGB', (24, 24), (2 * i, 128, 255 - 3 * i)).save(tmp_path / f'plain/{i:02d}.png')
    train_here(health_config(tmp_path / 'run', tmp_path / 'plain'))
    found = record(tmp_path / 'run')['health']
    assert found['verdict'] == 'near-constant images' and measured(tmp_path / 'run')[0]['health/flat_images'] == 100


def test_without_held_out_images_training_goes_on_without_a_verdict(tmp_path, image_root):
    hooks = [dict(type='HealthHook', interval=1)]
    train_here(health_config(tmp_path / 'run', image_root, custom_hooks=hooks))
    assert not measured(tmp_path / 'run') and 'health' not in record(tmp_path / 'run')
    missing = dict(type='ImageFolder', data_root=str(tmp_path / 'nothing'), pipeline=PIPELINE)
    hooks = [dict(type='HealthHook', interval=1, dataset=missing)]
    with pytest.raises(FileNotFoundError, match='nothing'):
        train_here(health_config(tmp_path / 'other', image_root, custom_hooks=hooks))
