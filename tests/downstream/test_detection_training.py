"""Detectors learn, run in two processes and are tested, through the tools that people use."""

import json

import numpy as np
import pytest
import torch
from harness import (
    ROOT,
    make_config,
    near,
    python,
    read_curve,
    run_tool,
    save_config,
    train,
    train_here,
)
from mmengine.runner.checkpoint import CheckpointLoader
from PIL import Image

pytest.importorskip('mmdet')
from det_harness import ARCH, FOLDER, WIDTH, make_coco, make_det_config, read, write  # noqa: E402

from mmmim.config.load import load_config  # noqa: E402
from mmmim.datasets.coco_file import AnnotationError  # noqa: E402
from mmmim.engine.launch import build_runner  # noqa: E402

pytestmark = pytest.mark.runs

FIXED = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]
ALL = 100000  # of so many anchors or proposals the sampler takes all: nothing is drawn


def measured(work_dir):
    return [line for line in read_curve(work_dir) if 'coco/bbox_mAP' in line]


def losses(work_dir):
    return [line['loss'] for line in read_curve(work_dir) if 'loss' in line]


@pytest.fixture(scope='module')
def drawings(tmp_path_factory):
    return make_coco(tmp_path_factory.mktemp('drawings') / 'data')


@pytest.fixture(scope='module')
def trained(tmp_path_factory, drawings):
    """(config, work dir) of training through tools/train.py; the results of testing are kept beside it."""
    folder = tmp_path_factory.mktemp('trained')
    cfg = make_det_config(folder / 'run', drawings, **{'train_cfg.val_interval': 20})
    cfg.test_evaluator.metric.outfile_prefix = str(folder / 'found')
    config = save_config(cfg, folder / 'config.py')
    train(config, timeout=600)
    return config, folder / 'run'


def test_detectors_learn(trained):
    """One box for each class, the same in every image, reaches 2%: objects lie and are sized at random."""
    assert measured(trained[1])[-1]['coco/bbox_mAP'] > 0.06 and measured(trained[1])[-1]['coco/segm_mAP'] > 0.06
    found = [line for line in read_curve(trained[1]) if 'loss' in line]
    first, last = (
        {key: sum(line[key] for line in part) / 4 for key in ('loss_rpn_cls', 'loss_mask')}
        for part in (found[:4], found[-4:])
    )
    assert last['loss_rpn_cls'] < 0.2 * first['loss_rpn_cls'] and last['loss_mask'] < 0.6  # a constant: 0.69


def test_tools_test_repeats_the_last_validation_and_agrees_with_pycocotools(trained, drawings, tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    config, work_dir = trained
    run_tool('test.py', config, work_dir / 'epoch_20.pth', '--out', tmp_path / 'result.json')
    result = json.loads((tmp_path / 'result.json').read_text())
    last = measured(work_dir)[-1]
    truth = COCO(str(drawings / 'annotations/instances_val2017.json'))
    for kind in ('bbox', 'segm'):
        evaluation = COCOeval(truth, truth.loadRes(f'{config.parent}/found.{kind}.json'), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] > 0.05
        for name, value in zip(('mAP', 'mAP_50', 'mAP_75'), evaluation.stats):
            assert result[f'coco/{kind}_{name}'] == pytest.approx(value, abs=5.1e-4)  # mmdet rounds to 3 digits
            assert last[f'coco/{kind}_{name}'] == result[f'coco/{kind}_{name}']


def test_predictions_are_drawn(trained, drawings, tmp_path):
    """By the config that trained, and by the copy in the work dir, away from the data."""
    config, work_dir = trained
    pictures = []
    for number, name in enumerate((config, next(work_dir.glob('*config.py')))):
        out = tmp_path / f'{number}.png'
        done = run_tool(
            'visualize/predict.py',
            name,
            work_dir / 'epoch_20.pth',
            drawings / 'val2017',
            '--score',
            '0.1',
            '--limit',
            '4',
            '--out',
            out,
        )
        assert '4 of 8 images' in done.stdout
        pictures.append(np.asarray(Image.open(out)))
    assert np.array_equal(*pictures)


def test_what_training_feeds_is_drawn(trained, tmp_path):
    done = run_tool(
        'visualize/browse_dataset.py', trained[0], '--images', '3', '--epochs', '2', '--out', tmp_path / 'browse.png'
    )
    assert '3 images, 2 epochs' in done.stdout and Image.open(tmp_path / 'browse.png').size[0] > 100


def test_pre_training_starts_a_detector_by_one_line(drawings, tmp_path, image_root):
    cfg = make_config(tmp_path / 'mae', image_root, epochs=2)
    cfg.model.backbone.update(arch=dict(ARCH), img_size=32)
    cfg.train_dataloader.dataset.pipeline[1].size = 32
    train_here(cfg)
    checkpoint = tmp_path / 'mae/epoch_2.pth'
    runner = build_runner(make_det_config(tmp_path / 'tuned', drawings, pretrained=str(checkpoint)))
    runner.model.init_weights()
    theirs = CheckpointLoader.load_checkpoint(str(checkpoint))['state_dict']
    ours = runner.model.backbone.state_dict()
    for key in ('blocks.3.mlp.fc2.weight', 'blocks.0.attn.qkv.weight', 'patch_embed.proj.weight', 'cls_token'):
        assert torch.equal(ours[key], theirs[f'backbone.{key}']), key
    wide = make_det_config(tmp_path / 'wide', drawings, pretrained=str(checkpoint))
    wide.model.backbone.arch.embed_dim, wide.model.neck.in_dim = 64, 64
    done = train(save_config(wide, tmp_path / 'wide.py'), check=False)
    assert done.returncode == 1 and 'Traceback' not in done.stderr and 'EncoderMismatchError' in done.stderr


# ------------------------------------------------------------------------------------------------------ two processes


def _twins(root):
    """Each image twice, one after the other: two processes then get the same."""
    data = make_coco(root, train=8, val=2)
    content = read(data)
    images, annotations = [], []
    for image in content['images']:
        for twin in (0, 1):
            number = 2 * image['id'] + twin
            images.append(dict(image, id=number))
            annotations += [
                dict(a, id=2 * a['id'] + twin, image_id=number)
                for a in content['annotations']
                if a['image_id'] == image['id']
            ]
    write(data, 'train2017', dict(content, images=images, annotations=annotations))
    return data


def _comparable(work_dir, data):
    """Without anything that is drawn: no flip, no order, and samplers that take all."""
    cfg = make_det_config(
        work_dir,
        data,
        epochs=2,
        total_batch_size=4,
        warmup_epochs=0,
        val_cfg=None,
        val_dataloader=None,
        val_evaluator=None,
    )
    cfg.train_dataloader.dataset.pipeline = FIXED
    cfg.train_dataloader.sampler.shuffle = False
    for part in (cfg.model.train_cfg.rpn, cfg.model.train_cfg.rcnn):
        part.sampler.update(num=ALL, pos_fraction=0.5)
    cfg.optim_wrapper.optimizer.update(eps=1e-4, lr=1e-3)
    return cfg


def test_two_processes_equal_one_where_both_have_as_many_objects(tmp_path):
    """mmdet divides each process's losses by its own number of objects and samples: here these are alike."""
    data = _twins(tmp_path / 'data')
    runner = train_here(_comparable(tmp_path / 'one', data))
    train(save_config(_comparable(tmp_path / 'two', data), tmp_path / 'two.py'), processes=2)
    one, two = losses(tmp_path / 'one'), losses(tmp_path / 'two')
    assert len(one) == len(two) == 8
    assert two == near(one)
    saved = torch.load(tmp_path / 'two/epoch_2.pth', weights_only=True)['state_dict']
    for key, value in runner.model.state_dict().items():
        torch.testing.assert_close(saved[key], value, rtol=1e-3, atol=2e-5)


def test_batch_statistics_cross_processes(drawings, tmp_path):
    """The FPN recipe's pyramid has batch norm: two processes with a half each start with the whole batch's loss."""

    def cfg(name, batch):
        made = _comparable(tmp_path / name, drawings)
        made.merge_from_dict(dict(total_batch_size=batch, max_epochs=1))
        made.model.backbone.out_indices = (0, 1, 3)
        made.model.neck = [
            dict(type='mmmim.MultiScalePyramid', norm='batch', scales=(4, 2, 1)),
            dict(type='FPN', out_channels=WIDTH, num_outs=3),
        ]
        made.model.rpn_head.anchor_generator.strides = strides = [1, 2, 4]
        made.model.roi_head.bbox_roi_extractor.featmap_strides = strides
        made.model.roi_head.mask_roi_extractor.featmap_strides = strides
        made.optim_wrapper.optimizer.lr = 0.0
        return made

    train(save_config(cfg('two', 4), tmp_path / 'two.py'), processes=2)
    saved = torch.load(tmp_path / 'two/epoch_1.pth', weights_only=True)['state_dict']
    found = {key: value for key, value in saved.items() if 'running_' in key}
    one, half = (train_here(cfg(name, batch)).model.state_dict() for name, batch in (('one', 4), ('half', 2)))
    assert found
    for key, value in found.items():
        torch.testing.assert_close(value, one[key], rtol=1e-4, atol=1e-5)
    assert any(not torch.allclose(value, half[key], rtol=1e-4, atol=1e-5) for key, value in found.items())


# ------------------------------------------------------------------------------------------------ before training


def check(data, tmp_path, **overrides):
    """Train for an epoch, as far as the checks let it."""
    cfg = make_det_config(tmp_path / 'run', data, epochs=1, warmup_epochs=0, **overrides)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    train_here(cfg)
    return next((tmp_path / 'run').glob('*/*.log')).read_text()


def spoil(data, kind):
    first = data / 'train2017/000.png'
    if kind == 'missing':
        first.unlink()
    elif kind == 'size':
        Image.open(first).resize((40, 48)).save(first)
    elif kind == 'torn':
        first.write_bytes(first.read_bytes()[:20])


@pytest.mark.parametrize(
    'kind, message',
    [
        ('missing', '1 of 8 training images that the annotations name are not there: .*000.png. Add them, or set '),
        ('size', '000.png has 40 x 48 pixels, in .*json it has 48 x 48'),
        ('torn', '000.png.*which .*instances_train2017.json names'),
    ],
)
def test_bad_images_are_one_clear_error(kind, message, tmp_path):
    data = make_coco(tmp_path / 'data', train=8, val=2)
    spoil(data, kind)
    with pytest.raises(AnnotationError, match=message) as caught:
        check(data, tmp_path)
    assert '\n' not in str(caught.value) and not (tmp_path / 'run/curve.jsonl').exists()


def test_what_is_left_out_is_said(tmp_path):
    data = make_coco(tmp_path / 'data', train=8, val=2)
    content = read(data)
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] != 2]
    content['annotations'][0]['bbox'][2] = 0
    write(data, 'train2017', content)
    log = check(data, tmp_path)
    assert 'annotations that are left out: 1 with a box of less than one pixel (id 1)' in log
    assert 'training set: 1 of 8 images are left out; 1 have no usable annotation' in log
    assert 'The encoder starts from its random initialisation' in log


def test_the_tool_says_it_in_one_line(drawings, tmp_path):
    config = save_config(make_det_config(tmp_path / 'run', drawings), tmp_path / 'config.py')
    done = train(config, '--cfg-options', 'num_classes=5', check=False)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith('AnnotationError'))
    assert 'num_classes=5, but' in line and 'has 2 classes: disc, square' in line


def test_the_drawn_scenes_are_read(tmp_path):
    """What tools/datasets/make_scenes.py writes, through the config that is made for it."""
    tool = str(ROOT / 'tools/datasets/make_scenes.py')
    python(tool, tmp_path / 'scenes', '--train', 6, '--val', 2, '--workers', 1, check=True)
    cfg = load_config(
        str(FOLDER / 'vit-tiny_scenes_mask-rcnn.py'),
        dict(data_root=str(tmp_path / 'scenes/coco'), max_epochs=1, warmup_epochs=0, total_batch_size=3),
    )
    cfg.work_dir = str(tmp_path / 'run')
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'].update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.val_interval = 1
    runner = train_here(cfg)
    assert runner.model.roi_head.bbox_head.num_classes == 10 and np.isfinite(losses(tmp_path / 'run')).all()
    assert 0 <= measured(tmp_path / 'run')[-1]['coco/bbox_mAP'] < 0.05  # hardly trained: nothing found is 0, too
