"""Segmentors learn, resume, run in two processes and are tested, through the tools that people use."""

import json

import numpy as np
import pytest
import torch
from harness import make_config, near, read_curve, run_tool, save_config, train, train_here
from mmengine.hooks import Hook
from PIL import Image
from seg_harness import ARCH, make_masks, make_seg_config

pytest.importorskip('mmseg')
from mmmim.datasets import MaskFolder  # noqa: E402
from mmmim.datasets.io.image_io import ImageReadError  # noqa: E402
from mmmim.engine.hooks import check_data as masks  # noqa: E402
from mmmim.engine.launch import build_runner  # noqa: E402

pytestmark = pytest.mark.runs

FIXED = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]


def run_test(config, *args, **options):
    return run_tool('test.py', config, *args, **options)


def measured(work_dir):
    return [line['mIoU'] for line in read_curve(work_dir) if 'mIoU' in line]


def losses(work_dir):
    return [line['loss'] for line in read_curve(work_dir) if 'loss' in line]


@pytest.fixture(scope='module')
def drawings(tmp_path_factory):
    return make_masks(tmp_path_factory.mktemp('drawings') / 'data')


@pytest.fixture(scope='module')
def trained(tmp_path_factory, drawings):
    """(config, work dir) of training through tools/train.py."""
    folder = tmp_path_factory.mktemp('trained')
    config = save_config(make_seg_config(folder / 'run', drawings, steps=50), folder / 'config.py')
    train(config)
    return config, folder / 'run'


def test_segmentors_learn(trained):
    assert measured(trained[1])[-1] > 60  # the ground alone everywhere is 26
    assert sum(losses(trained[1])[-5:]) < 0.6 * sum(losses(trained[1])[:5])


def test_tools_test_repeats_the_last_validation(trained, tmp_path):
    config, work_dir = trained
    run_test(config, work_dir / 'iter_50.pth', '--out', tmp_path / 'result.json')
    result = json.loads((tmp_path / 'result.json').read_text())
    assert result['mIoU'] == measured(work_dir)[-1] and result['iter'] == 50


def test_several_scales_are_averaged_in_testing_alone(trained, tmp_path):
    config, work_dir = trained
    run_test(
        config,
        work_dir / 'iter_50.pth',
        '--out',
        tmp_path / 'result.json',
        '--cfg-options',
        'tta=True',
        'tta_ratios=(0.75,1.0,1.5)',
    )
    result = json.loads((tmp_path / 'result.json').read_text())
    assert result['mIoU'] > 50 and result['mIoU'] != measured(work_dir)[-1]


def test_tools_test_refuses_a_checkpoint_without_heads(trained, tmp_path, image_root):
    cfg = make_config(tmp_path / 'mae', image_root, epochs=2)
    cfg.model.backbone.update(arch=dict(ARCH), img_size=32)
    cfg.train_dataloader.dataset.pipeline[1].size = 32
    train_here(cfg)
    done = run_test(trained[0], tmp_path / 'mae/epoch_2.pth', check=False)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    # and pre-training's checkpoint is where fine-tuning starts, without a conversion
    tuning = make_seg_config(tmp_path / 'tuned', image_root, pretrained=str(tmp_path / 'mae/epoch_2.pth'))
    tuning.train_dataloader.dataset.data_root = tuning.val_dataloader.dataset.data_root = str(tmp_path)
    runner = build_runner(tuning)
    runner.model.init_weights()
    theirs = torch.load(tmp_path / 'mae/epoch_2.pth', weights_only=True)['state_dict']
    ours = runner.model.backbone.state_dict()
    for key in ('blocks.3.mlp.fc2.weight', 'blocks.0.attn.qkv.weight', 'patch_embed.proj.weight', 'cls_token'):
        assert torch.equal(ours[key], theirs[f'backbone.{key}']), key


def test_a_run_goes_on_where_it_was_stopped(drawings, tmp_path):
    """With one worker-less process and nothing random in the pipeline, exactly so."""

    def config(name, **overrides):
        return make_seg_config(
            tmp_path / name,
            drawings,
            steps=8,
            **{'train_dataloader.dataset.pipeline': FIXED, 'model.backbone.drop_path_rate': 0.1, **overrides},
        )

    train_here(config('whole'))
    train_here(config('parts', **{'train_cfg.type': 'IterBasedTrainLoop', 'default_hooks.checkpoint.interval': 5}))
    for later in ('iter_8.pth', 'last_checkpoint'):
        (tmp_path / 'parts' / later).unlink()
    train_here(config('parts', resume=True, load_from=str(tmp_path / 'parts/iter_5.pth')))
    assert losses(tmp_path / 'parts') == losses(tmp_path / 'whole') and len(losses(tmp_path / 'whole')) == 8
    whole, parts = (
        torch.load(tmp_path / name / 'iter_8.pth', weights_only=True)['state_dict'] for name in ('whole', 'parts')
    )
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())


def test_time_until_the_last_checkpoint_is_on_record_when_a_run_dies(drawings, tmp_path):
    class Dies(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 6:
                raise OSError('power cut')

    runner = build_runner(
        make_seg_config(
            tmp_path / 'run',
            drawings,
            steps=8,
            **{'train_cfg.type': 'IterBasedTrainLoop', 'default_hooks.checkpoint.interval': 5},
        )
    )
    runner.register_hook(Dies())
    with pytest.raises(OSError, match='power cut'):
        runner.train()
    record = json.loads((tmp_path / 'run/run.json').read_text())
    assert record['sessions'][0]['seconds'] > 0 and record['sessions'][0]['to_iter'] >= 4 and not record['finished']


def _comparable(work_dir, drawings, norm='mmmim.CrossRankBatchNorm2d'):
    return make_seg_config(
        work_dir,
        drawings,
        steps=4,
        **{
            'train_dataloader.dataset.pipeline': FIXED,
            'model.backbone.drop_path_rate': 0.0,
            'model.decode_head.dropout_ratio': 0.0,
            'model.auxiliary_head.dropout_ratio': 0.0,
            'model.decode_head.norm_cfg.type': norm,
            'model.auxiliary_head.norm_cfg.type': norm,
            'optim_wrapper.optimizer.eps': 1e-6,
            'optim_wrapper.optimizer.lr': 1e-3,
        },
    )


def test_two_processes_equal_one(drawings, tmp_path):
    """Batch statistics cross ranks: with half batches' own the losses would differ from the first step on."""
    runner = train_here(_comparable(tmp_path / 'one', drawings))
    train(save_config(_comparable(tmp_path / 'two', drawings), tmp_path / 'two.py'), processes=2)
    one, two = losses(tmp_path / 'one'), losses(tmp_path / 'two')
    assert len(one) == len(two) == 4
    assert two == near(one)
    saved = torch.load(tmp_path / 'two/iter_4.pth', weights_only=True)['state_dict']
    for key, value in runner.model.state_dict().items():
        if 'running' in key:
            torch.testing.assert_close(saved[key], value, rtol=1e-3, atol=1e-4)


def test_statistics_of_half_batches_would_be_noticed(drawings, tmp_path):
    """What the test above compares does depend on the batch: two halves' losses are not the whole's."""
    found = []
    for batch in (8, 4):
        cfg = _comparable(tmp_path / str(batch), drawings)
        cfg.total_batch_size, cfg.max_iters, cfg.warmup_iters = batch, 2, 0
        cfg.optim_wrapper.optimizer.lr = 0.0
        train_here(cfg)
        found.append(losses(tmp_path / str(batch)))
    assert abs(found[0][0] - sum(found[1]) / 2) > 2e-5


# ------------------------------------------------------------------------------------------------------------- masks


def check(drawings, tmp_path, **overrides):
    """Train for a step, as far as the checks let it."""
    train_here(
        make_seg_config(
            tmp_path / 'run',
            drawings,
            steps=2,
            warmup_iters=0,
            val_cfg=None,
            val_dataloader=None,
            val_evaluator=None,
            **overrides,
        )
    )


@pytest.mark.parametrize(
    'reduced, stored, message',
    [
        (False, 2, r'values 0 to 2 occur.*0 to 1 are classes, 255 is ignored. Not so 2: if 0 means unl.*num_classes=3'),
        (False, 7, r'values 0 to 2, 7 occur.*Not so 2, 7: set num_classes=8, or mark'),
        (True, 3, r'values 0 to 3 occur.*1 to 2 are classes, 255 and 0 are ignored. Not so 3: set num_classes=3'),
    ],
    ids=['one-more', 'several-more', 'reduced'],
)
def test_values_that_are_no_class_are_listed_before_training(reduced, stored, message, tmp_path):
    data = make_masks(tmp_path / 'data', 8, 4, reduced=reduced)
    Image.fromarray(np.full((32, 32), stored, np.uint8)).save(data / 'annotations/training/007.png')
    with pytest.raises(masks.MaskError, match=message):
        check(data, tmp_path, num_classes=2, reduce_zero_label=reduced)
    assert not (tmp_path / 'run/curve.jsonl').exists()


@pytest.mark.parametrize(
    'stored, classes, message',
    [
        ((0, 255), 2, r'values 0, 255 occur.*one class, 0, is all .*set label_map=\{255: 1\} \(label_map.255=1 on'),
        ((255,), 2, 'there is nothing to learn'),
        ((1, 255), 2, r'one class, 1, is all there is to learn. .*label_map=\{1: 0, 255: 1\}'),
        ((0,), 2, 'one class, 0, is all there is to learn. Add masks'),
        ((0, 128), 2, r'Not so 128: If these are the classes in order, set label_map=\{128: 1\}'),
        ((0, 127, 255), 3, r'Not so 127: .*label_map=\{127: 1, 255: 2\} \(label_map.127=1 label_map.255=2 on'),
    ],
    ids=str,
)
def test_values_that_cannot_be_class_numbers(stored, classes, message, tmp_path):
    data = make_masks(tmp_path / 'data', 3, 3)
    for split in ('training', 'validation'):
        for i in range(3):
            mask = np.array(stored, np.uint8)[np.arange(32 * 32).reshape(32, 32) % len(stored)]
            Image.fromarray(mask).save(data / f'annotations/{split}/{i:03d}.png')
    with pytest.raises(masks.MaskError, match=message):
        check(data, tmp_path, num_classes=classes)


def test_a_label_map_says_which_class_a_value_is(tmp_path):
    data = make_masks(tmp_path / 'data', 8, 4)
    for file in sorted((data / 'annotations').glob('*/*.png')):
        mask = np.asarray(Image.open(file))
        Image.fromarray(np.array([0, 128, 255], np.uint8)[mask]).save(file)
    cfg = make_seg_config(tmp_path / 'run', data, steps=2, warmup_iters=0, **{'label_map.128': 1, 'label_map.255': 2})
    runner = build_runner(cfg)
    runner.train()
    for loader in (runner.train_dataloader, runner.val_loop.dataloader):
        sample = loader.dataset[0]['data_samples']
        assert sample.gt_sem_seg.data.unique().tolist() == [0, 1, 2]
    for wrong, reduced, message in (
        ({255: 3}, False, '3 is none of the classes 0 to 2'),
        ({255: 1}, True, 'leave out'),
    ):
        with pytest.raises(ValueError, match=message):
            MaskFolder(
                str(data),
                dict(img_path='images/training', seg_map_path='annotations/training'),
                'abc',
                reduced,
                label_map=wrong,
            )


def test_a_class_that_never_occurs_is_a_warning(drawings, tmp_path):
    check(drawings, tmp_path, num_classes=3, reduce_zero_label=True)
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'The highest class is not among them' in log and 'If 0 is a class of its own' in log


def test_stored_plus_one_is_read_as_the_class(tmp_path):
    data = make_masks(tmp_path / 'data', 8, 4, reduced=True)
    with pytest.raises(masks.MaskError, match='values 0 to 3 occur.*Not so 3: if 0 means unlabelled, set reduce_zero'):
        check(data, tmp_path / 'plain')
    check(data, tmp_path / 'reduced', reduce_zero_label=True)


def spoil(data, kind):
    first = data / 'annotations/training/000.png'
    mask = np.asarray(Image.open(first))
    if kind == 'missing':
        first.unlink()
    elif kind == 'colour':
        Image.fromarray(mask).convert('RGB').save(first)
    elif kind == 'size':
        Image.fromarray(mask[:20]).save(first)
    elif kind == 'torn':
        first.write_bytes(first.read_bytes()[:60])
    elif kind == 'deep':
        Image.fromarray(mask.astype(np.uint16) + 300).save(first)
    elif kind == 'twice':
        Image.fromarray(mask).save(first.with_suffix('.tif'))
    elif kind == 'empty':
        for file in (data / 'images/training').iterdir():
            file.unlink()


@pytest.mark.parametrize(
    'kind, message',
    [
        ('missing', '1 of 8 images have no mask.*000.png'),
        ('colour', '000.png is a colour image'),
        ('size', '000.png has 32 x 20 pixels, its image .* 32 x 32'),
        ('torn', '000.png or its image cannot be read'),
        ('deep', '000.png holds 300 to 302; class numbers lie in 0 to 255'),
        ('twice', '000.png and 000.tif.*same name'),
        ('empty', 'there are no files in .*images/training'),
    ],
)
def test_bad_masks_are_one_clear_error(kind, message, tmp_path):
    data = make_masks(tmp_path / 'data', 8, 4)
    spoil(data, kind)
    with pytest.raises((masks.MaskError, FileNotFoundError, ValueError), match=message) as caught:
        check(data, tmp_path)
    assert '\n' not in str(caught.value)


def test_masks_that_were_not_looked_at_are_checked_in_their_batch(tmp_path):
    data = make_masks(tmp_path / 'data', 8, 4)
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(data / 'annotations/training/007.png')
    with pytest.raises(masks.MaskError, match='007.png has pixels of the classes 7, but num_classes=3'):
        check(data, tmp_path, **{'default_hooks.check_masks.max_masks': 2})


def test_masks_of_validation_that_were_not_looked_at_are_checked_in_their_batch(tmp_path):
    data = make_masks(tmp_path / 'data', 8, 4)
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(data / 'annotations/validation/003.png')
    with pytest.raises(masks.MaskError, match='validation/003.png has pixels of the classes 7, but num_classes=3'):
        train_here(
            make_seg_config(
                tmp_path / 'run',
                data,
                steps=2,
                warmup_iters=0,
                **{'default_hooks.check_masks.max_masks': 2, 'train_cfg.val_interval': 1},
            )
        )


@pytest.mark.parametrize('tta', [False, True], ids=['one scale', 'several scales'])
def test_masks_are_checked_before_testing_too(tta, tmp_path):
    data = make_masks(tmp_path / 'data', 8, 4)
    options = dict(num_classes=2, tta=tta, tta_ratios=(1.0,), load_from=None)
    with pytest.raises(masks.MaskError, match='in the test masks the values 0 to 2 occur.*Not so 2'):
        build_runner(make_seg_config(tmp_path / 'run', data, steps=4, **options)).test()
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(data / 'annotations/validation/003.png')
    options.update({'num_classes': 3, 'default_hooks.check_masks.max_masks': 2})
    with pytest.raises(masks.MaskError, match='validation/003.png has pixels of the classes 7'):
        build_runner(make_seg_config(tmp_path / 'again', data, steps=4, **options)).test()


@pytest.mark.parametrize('workers', [0, 1])
def test_a_torn_file_that_was_not_looked_at_is_named(workers, tmp_path):
    data = make_masks(tmp_path / 'data', 8, 4)
    torn = data / 'annotations/training/007.png'
    torn.write_bytes(torn.read_bytes()[:60])
    with pytest.raises(ImageReadError, match='training/007.png: it or its mask .*training/007.png cannot be read'):
        check(data, tmp_path, **{'default_hooks.check_masks.max_masks': 2, 'train_dataloader.num_workers': workers})


def test_masks_without_an_image_are_a_warning(tmp_path):
    data = make_masks(tmp_path / 'data', 8, 4)
    (data / 'images/training/003.png').unlink()
    check(data, tmp_path)
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert '1 of 8 masks in' in log and 'have no image and are not used: 003.png' in log


def test_only_listed_images_need_masks(tmp_path):
    data = make_masks(tmp_path / 'data', 8, 4)
    spoil(data, 'missing')
    (data / 'some.txt').write_text(''.join(f'{i:03d}{".png" if i % 2 else ""}\n' for i in range(1, 8)))
    check(data, tmp_path, **{'train_dataloader.dataset.ann_file': 'some.txt'})
    (data / 'some.txt').write_text('001\nnone.png\n')
    with pytest.raises(FileNotFoundError, match='names 2 images, of which 1 are not in .*: none.png'):
        check(data, tmp_path, **{'train_dataloader.dataset.ann_file': 'some.txt'})


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="data set 'nowhere'.* does not exist"):
        check('nowhere', tmp_path)


def test_the_tool_says_it_in_one_line(drawings, tmp_path):
    config = save_config(make_seg_config(tmp_path / 'run', drawings, steps=4), tmp_path / 'config.py')
    done = train(config, '--cfg-options', 'num_classes=2', check=False)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert len([line for line in done.stderr.splitlines() if 'MaskError: in the training masks' in line]) == 1
