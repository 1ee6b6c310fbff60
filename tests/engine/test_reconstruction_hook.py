"""Pictures during pre-training."""

import random
import warnings

import numpy as np
import pytest
import torch
from harness import largest_difference, load_weights, make_config, save_config, train, train_here
from PIL import Image

from mmmim.engine.hooks.validation import own_generators
from mmmim.visualization.panel import Panel

pytestmark = pytest.mark.runs

PIPELINE = [dict(type='LoadImage'), dict(type='Resize', size=16), dict(type='PackImage')]


def _config(work_dir, images, hook, **overrides):
    return make_config(
        work_dir,
        images,
        epochs=3,
        **{
            'custom_hooks': [dict(type='ReconstructionHook', **hook)] if hook is not None else [],
            'custom_imports.imports': ['mmmim'],
            'experiment_name': str(work_dir),
            **overrides,
        },
    )


def _data(images):
    return dict(type='ImageFolder', data_root=str(images), pipeline=PIPELINE)


def test_training_is_the_same_with_and_without_it(tmp_path, image_root):
    hook = dict(interval=1, dataset=_data(image_root), num_images=4, at_start=True)
    train_here(_config(tmp_path / 'with', image_root, hook))
    train_here(_config(tmp_path / 'without', image_root, None))
    assert largest_difference(load_weights(tmp_path / 'with'), load_weights(tmp_path / 'without')) == 0


def test_generators_go_on_as_if_nothing_had_been_drawn():
    def draw():
        return random.random(), np.random.rand(), torch.rand(3).tolist()

    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    undisturbed = [draw(), draw()]
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    first = draw()
    with own_generators(5):
        inside = draw()
    assert [first, draw()] == undisturbed
    with own_generators(5):
        assert draw() == inside


def test_other_ranks_do_nothing(tmp_path, image_root, monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.is_main_process', lambda *_: False)
    train_here(_config(tmp_path / 'run', image_root, dict(interval=1, dataset=_data(tmp_path / 'nowhere'))))
    assert not (tmp_path / 'run/reconstructions').exists()


def test_two_processes_do_not_wait_for_each_other(tmp_path, image_root):
    cfg = _config(tmp_path / 'run', image_root, dict(interval=1, dataset=_data(image_root), num_images=2))
    train(save_config(cfg, tmp_path / 'config.py'), processes=2)
    assert len(list((tmp_path / 'run/reconstructions').iterdir())) == 3
    assert (tmp_path / 'run/epoch_3.pth').exists()


def test_the_same_images_and_masks_each_time_and_the_last_epoch_counts(tmp_path, image_root):
    runner = train_here(
        _config(tmp_path / 'run', image_root, dict(interval=2, dataset=_data(image_root), num_images=4, at_start=True))
    )
    files = sorted((tmp_path / 'run/reconstructions').iterdir())
    assert [file.name for file in files] == ['epoch_0000.png', 'epoch_0002.png', 'epoch_0003.png']
    first, _, last = (Panel.load(file) for file in files)
    assert last.columns == ['original', 'masked', "reconstruction (original patch's mean and variance)"]
    assert (last.notes['epoch'], last.notes['iter'], last.notes['mask_ratio']) == (3, 12, 0.75)
    # spread over both classes, and each is another picture
    assert sum('class0' in name for name in last.row_names) == sum('class1' in name for name in last.row_names) == 2
    for column, same in ((0, True), (1, True), (2, False)):
        pairs = [(a[column], b[column]) for a, b in zip(first.tiles, last.tiles)]
        assert all(np.array_equal(a, b) == same for a, b in pairs)
    assert len({tile.tobytes() for row in last.tiles for tile in row[:2]}) == 8
    assert runner.model.training


def test_the_visualizer_gets_the_picture(tmp_path, image_root):
    train_here(_config(tmp_path / 'run', image_root, dict(interval=2, dataset=_data(image_root), num_images=2)))
    sent = sorted((tmp_path / 'run').glob('*/vis_data/vis_image/reconstruction_*.png'))
    assert [file.name for file in sent] == ['reconstruction_12.png', 'reconstruction_8.png']  # iterations
    drawn = np.asarray(Panel.load(tmp_path / 'run/reconstructions/epoch_0003.png').draw())
    assert np.array_equal(np.asarray(Image.open(sent[0])), drawn)


@pytest.mark.parametrize('test_folder', [None, 'absent', 'there'])
def test_images_come_from_the_test_set_or_else_from_training(test_folder, tmp_path, image_root):
    loader = (
        {}
        if test_folder is None
        else dict(
            test_dataloader=dict(
                dataset=_data(image_root / 'class1' if test_folder == 'there' else tmp_path / 'nowhere'),
                sampler=dict(type='EpochSampler', shuffle=False),
                batch_size=4,
            ),
            test_cfg=dict(),
            test_evaluator=dict(type='ReconstructionMetric'),
        )
    )
    train_here(_config(tmp_path / 'run', image_root, dict(num_images=4), **loader))
    panel = Panel.load(tmp_path / 'run/reconstructions/epoch_0003.png')
    classes = {name.split('/')[0] for name in panel.row_names}
    assert classes == ({'class1'} if test_folder == 'there' else {'class0', 'class1'})


def test_unreadable_images_do_not_end_the_run(tmp_path, image_root):
    folder = tmp_path / 'broken'
    folder.mkdir()
    for i in range(3):
        (folder / f'{i}.jpg').write_bytes(b'no picture')
    train_here(_config(tmp_path / 'run', image_root, dict(dataset=_data(folder))))
    assert (tmp_path / 'run/epoch_3.pth').exists() and not (tmp_path / 'run/reconstructions').exists()


def test_no_images_to_show_is_an_error_at_the_start(tmp_path, image_root):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        train_here(_config(tmp_path / 'run', image_root, dict(dataset=_data(tmp_path / 'nowhere'))))


def test_a_model_that_cannot_paint_fails_before_training(tmp_path, image_root):
    cfg = _config(tmp_path / 'run', image_root, dict(interval=2, dataset=_data(image_root)))
    cfg.merge_from_dict(
        {
            'custom_imports.imports': ['mmmim', 'run_plugin'],
            'model.target': dict(type='PCATarget', num_components=8),
            'default_hooks.fit_target': None,
        }
    )
    with pytest.raises(RuntimeError, match='no basis'):
        train_here(cfg)
    assert not (tmp_path / 'run/curve.jsonl').exists()


def test_tensorboard_gets_scalars_and_pictures(tmp_path, image_root):
    pytest.importorskip('tensorboard', reason='tensorboard is optional')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        train_here(
            _config(
                tmp_path / 'run',
                image_root,
                dict(interval=2, dataset=_data(image_root), num_images=2),
                visualizer=dict(type='Visualizer', vis_backends=backends),
            )
        )
    events = EventAccumulator(str(next((tmp_path / 'run').glob('*/vis_data'))), size_guidance=dict(images=0))
    events.Reload()
    assert [event.step for event in events.Images('reconstruction')] == [8, 12]
    losses = [event.value for event in events.Scalars('loss')]
    assert len(losses) >= 4 and all(0 < loss < 5 for loss in losses)
    assert torch.tensor(losses).isfinite().all()
