"""The detection configs: each builds, reads images with their objects, has a loss, and states the recipe it names."""

import copy
import functools
import re

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from PIL import Image

pytest.importorskip('mmdet')
from det_harness import FOLDER, read, write  # noqa: E402
from mmdet.registry import DATASETS, MODELS  # noqa: E402

from mmmim.config.detection import settle_detector  # noqa: E402
from mmmim.config.load import load_config  # noqa: E402
from mmmim.config.parts import pipeline_steps  # noqa: E402
from mmmim.config.prepare import set_up_scope  # noqa: E402
from mmmim.config.schedule import set_batch_and_lr, set_schedule  # noqa: E402
from mmmim.models import CrossRankBatchNorm2d  # noqa: E402

CONFIGS = sorted(path.stem for path in FOLDER.glob('*.py'))
BASE, LARGE = ('base', 0.1, 0.7), ('large', 0.4, 0.8)
MIMDET = ('base', 0.1, 1.0)
LSJ = {  # arch, drop path, layer decay, lr, weight decay, image size
    'vit-b_mask-rcnn_lsj-100e': (*BASE, 1e-4, 0.1, 1024),
    'vit-l_mask-rcnn_lsj-100e': (*LARGE, 1e-4, 0.1, 1024),
    'vit-b_cascade-mask-rcnn_lsj-100e': (*BASE, 1e-4, 0.1, 1024),
    'vit-l_cascade-mask-rcnn_lsj-100e': (*LARGE, 1e-4, 0.1, 1024),
    'conv-vit-b_mask-rcnn_lsj-100e_cmae': (*BASE, 1e-4, 0.1, 1024),
    'conv-vit-b_cascade-mask-rcnn_lsj-100e_cmae': (*BASE, 1e-4, 0.1, 1024),
    'vit-b_mask-rcnn_lsj-100e_gan-mae': (*BASE, 1e-4, 0.1, 1024),
    'vit-b_mask-rcnn_lsj-100e_vision-electra': (*MIMDET, 3.2e-4, 0.1, 768),
    'vit-b_mask-rcnn_lsj-100e_vision-electra_lr-8e-5': (*MIMDET, 8e-5, 0.1, 768),
}
STEPS = {  # arch, drop path, layer decay, lr, weight decay, images, epochs, milestones
    'vit-b_mask-rcnn_3x_crossmae': ('base', 0.2, 0.65, 6e-5, 0.05, 16, 36, [27, 33]),
    'vit-b_mask-rcnn_3x_vision-electra': (*MIMDET, 3.2e-4, 0.1, 64, 36, [27, 33]),
    'vit-l_mask-rcnn_3x': ('large', 0.3, 0.75, 6e-5, 0.05, 16, 36, [27, 33]),
    'vit-b_mask-rcnn_1x': ('base', 0.2, 0.65, 1e-4, 0.05, 16, 12, [8, 11]),
    'vit-b_mask-rcnn_1x_gan-mae': ('base', 0.2, 0.65, 1e-4, 0.05, 16, 12, [8, 11]),
    'vit-l_mask-rcnn_1x': ('large', 0.3, 0.75, 1e-4, 0.05, 16, 12, [8, 11]),
}


@functools.lru_cache(maxsize=None)
def _loaded(name):
    return load_config(str(FOLDER / f'{name}.py'))


def config(name, **overrides):
    cfg = copy.deepcopy(_loaded(name))
    cfg.merge_from_dict(overrides)
    return cfg


def resolved(name, processes=8, **overrides):
    cfg = config(name, **overrides)
    set_batch_and_lr(cfg, processes)
    set_schedule(cfg)
    settle_detector(cfg, with_data=False)
    return cfg


def shrunk(name, data, size=64, width=16):
    """Narrow, with small images: depth, maps, heads and pipeline stay."""
    cfg = config(name, num_classes=None)
    model = cfg.model
    if model.backbone.type == 'mmmim.DenseConvViT':
        model.backbone.arch = dict(embed_dims=(8, 16, 24), depths=(1, 1, 4), num_heads=3)
    elif model.backbone.type == 'mmmim.DenseSwin':
        model.backbone.update(arch=dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)), window_size=4)
    else:
        arch = model.backbone.arch
        model.backbone.arch = dict(
            embed_dim=24, depth=arch.depth if isinstance(arch, dict) else dict(base=12, large=24)[arch], num_heads=3
        )
    for part in model.neck if isinstance(model.neck, list) else [model.neck]:
        if 'out_channels' in part:
            part.out_channels = width
    model.rpn_head.update(in_channels=width, feat_channels=width)
    model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=20)
    model.test_cfg.rpn.update(nms_pre=50, max_per_img=20)
    roi_head = model.roi_head
    for extractor in (roi_head.bbox_roi_extractor, roi_head.mask_roi_extractor):
        extractor.out_channels = width
    for head in roi_head.bbox_head if isinstance(roi_head.bbox_head, list) else [roi_head.bbox_head]:
        head.update(in_channels=width, fc_out_channels=32)
        if 'conv_out_channels' in head:
            head.conv_out_channels = width
    roi_head.mask_head.update(in_channels=width, conv_out_channels=width)
    if 'image_size' in cfg:
        cfg.image_size = size
    else:
        cfg.scale = (2 * size, size)
        for step in pipeline_steps(cfg):
            if step.type == 'RandomChoiceResize':
                step.scales = [(side // 10, 133) for side, _ in step.scales]
            elif step.type == 'RandomCrop':
                step.crop_size = (38, 60)
    cfg.data_root = str(data)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data)
    settle_detector(cfg)
    return cfg


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Two images of 100 x 80 pixels with two objects each of three classes, and one without."""
    folder = tmp_path_factory.mktemp('objects')
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(3):
        images.append(dict(id=i, file_name=f'{i}.jpg', width=100, height=80))
        for label, (left, top, side) in enumerate([(10, 10, 30), (50, 20, 40)] if i < 2 else []):
            corners = [left, top, left + side, top, left + side, top + side, left, top + side]
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=i,
                    category_id=label + i,
                    iscrowd=0,
                    area=side**2,
                    segmentation=[corners],
                    bbox=[left, top, side, side],
                )
            )
    for split in ('train2017', 'val2017'):
        (folder / split).mkdir()
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(folder / split / f'{i}.jpg')
        write(
            folder,
            split,
            dict(
                images=images,
                annotations=annotations,
                categories=[dict(id=i, name=name) for i, name in enumerate('abc')],
            ),
        )
    return folder


@pytest.fixture(autouse=True)
def scope(mmmim_scope):
    set_up_scope(config('vit-b_mask-rcnn_lsj-100e'))
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def rates(model, cfg):
    """``{name: (rate, weight decay)}`` of every parameter that is trained."""
    wrapper = copy.deepcopy(cfg.optim_wrapper)
    wrapper.pop('accumulative_counts', None)
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in build_optim_wrapper(model, wrapper).optimizer.param_groups
        for p in group['params']
    }


def check_rates(model, cfg):
    """The papers' rule, written here once more: neck and heads have the full rate, each block below them less."""
    found = rates(model, cfg)
    depth = cfg.model.backbone.arch.depth
    optimizer, paramwise = cfg.optim_wrapper.optimizer, cfg.optim_wrapper.paramwise_cfg
    assert set(found) == {key for key, p in model.named_parameters() if p.requires_grad}
    for key, (rate, weight_decay) in found.items():
        block = re.match(r'backbone\.blocks\.(\d+)\.', key)
        steps = (
            depth - int(block.group(1))
            if block
            else depth + 1
            if key.startswith(('backbone.patch_embed', 'backbone.cls_token'))
            else 0
        )
        factor = paramwise.get('backbone_lr_mult' if key.startswith('backbone.') else 'head_lr_mult', 1.0)
        assert rate == pytest.approx(factor * optimizer.lr * paramwise.layer_decay_rate**steps), key
        bare = model.get_parameter(key).ndim == 1 or 'cls_token' in key or 'rel_pos' in key
        assert weight_decay == (0.0 if bare else optimizer.weight_decay), key
    assert {key.split('.')[0] for key in found} == {'backbone', 'neck', 'rpn_head', 'roi_head'}


@pytest.mark.parametrize('name', CONFIGS)
def test_builds_reads_images_with_objects_and_has_a_loss(name, data):
    cfg = shrunk(name, data)
    model = MODELS.build(cfg.model)
    model.init_weights()
    np.random.seed(0)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 2  # the one without objects is left out
    batch = pseudo_collate([dataset[0], dataset[1]])
    prepared = model.data_preprocessor(batch, True)
    if 'image_size' in cfg:
        assert prepared['inputs'].shape == (2, 3, 64, 64)
    for sample in prepared['data_samples']:
        assert sample.gt_instances.masks.masks.shape[1:] == prepared['inputs'].shape[2:]
    losses = model(**prepared, mode='loss')
    heads = {'loss_rpn_cls', 'loss_rpn_bbox'} | {
        f'{stage}loss_{part}'
        for part in ('cls', 'bbox', 'mask')
        for stage in (['s0.', 's1.', 's2.'] if 'cascade' in name else [''])
    }
    assert {key for key in losses if 'loss' in key} == heads
    total = sum(sum(value) if isinstance(value, list) else value for key, value in losses.items() if 'loss' in key)
    assert torch.isfinite(total)
    total.backward()
    missing = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    if name.startswith('vit'):
        check_rates(model, cfg)
    elif name.startswith('swin'):
        spared = {key for key, (_, weight_decay) in rates(model, cfg).items() if weight_decay == 0.0}
        assert spared == {key for key, p in model.named_parameters() if 'norm' in key or 'position_bias_table' in key}
    sample = DATASETS.build(cfg.test_dataloader.dataset)[0]
    model.test_cfg.rcnn.score_thr = model.roi_head.test_cfg.score_thr = 0.0
    result = model.eval().test_step(pseudo_collate([sample]))[0].pred_instances
    assert len(result) and result.masks.shape[1:] == (80, 100)  # of the image, whatever its scale was
    assert (result.bboxes[:, 2] <= 100).all() and (result.bboxes[:, 3] <= 80).all()


@pytest.mark.parametrize('name', [*LSJ, *STEPS])
def test_published_recipes(name):
    arch, drop_path, decay, lr, *rest = {**LSJ, **STEPS}[name]
    cfg = resolved(name, processes=4)
    backbone, optimizer = cfg.model.backbone, cfg.optim_wrapper.optimizer
    assert (backbone.arch, backbone.patch_size, backbone.drop_path_rate) == (arch, 16, drop_path)
    assert (optimizer.type, optimizer.lr, tuple(optimizer.betas)) == ('AdamW', lr, (0.9, 0.999))
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == decay
    assert 4 * cfg.train_dataloader.batch_size * cfg.optim_wrapper.accumulative_counts == cfg.total_batch_size
    warmup, main = cfg.param_scheduler
    length = 0.25 if 'vision-electra' in name else 0.136
    assert (warmup.type, warmup.begin, warmup.end, warmup.convert_to_iter_based) == ('LinearLR', 0, length, True)
    assert cfg.num_classes == 80 and cfg.train_dataloader.dataset.data_prefix == dict(img='train2017')
    if name in LSJ:
        weight_decay, size = rest
        assert (optimizer.weight_decay, cfg.total_batch_size, cfg.train_cfg.max_epochs) == (weight_decay, 64, 100)
        assert (main.type, main.eta_min, main.begin, main.end) == ('CosineAnnealingLR', 0.0, length, 100)
        _, _, resize, crop, _, flip, _ = cfg.train_dataloader.dataset.pipeline
        assert (resize.scale, resize.ratio_range, crop.crop_size) == ((size, size), (0.1, 2.0), (size, size))
        assert cfg.test_dataloader.dataset.pipeline[1].scale == (size, size) and flip.prob == 0.5
        assert (backbone.img_size, cfg.model.data_preprocessor.pad_size_divisor) == (size, size)
        window = 16 if 'vision-electra' in name else 14
        assert (backbone.window_size, backbone.relative_positions) == (window, 'decomposed')
    else:
        weight_decay, images, epochs, milestones = rest
        found = (optimizer.weight_decay, cfg.total_batch_size, cfg.train_cfg.max_epochs)
        assert found == (weight_decay, images, epochs)
        assert backbone.get('window_size') == (16 if 'vision-electra' in name else None)
        assert (main.type, main.gamma, main.begin, main.milestones) == ('MultiStepLR', 0.1, 0, milestones)
        assert cfg.test_dataloader.dataset.pipeline[1].scale == (1333, 800)


@pytest.mark.parametrize(
    'kind, rates_of', [('', (1.6e-4, 6.4e-4)), ('_lr-8e-5', (8e-5, 8e-5)), ('3x', (1.6e-4, 6.4e-4))]
)
def test_vision_electras_detector_is_trained_as_in_mimdet(kind, rates_of, data):
    """The encoder at half of 4 * 8e-5, the rest at twice of it, without layer decay; and a step with both."""
    name = 'vit-b_mask-rcnn_3x_vision-electra' if kind == '3x' else f'vit-b_mask-rcnn_lsj-100e_vision-electra{kind}'
    cfg = shrunk(name, data, size=96)
    model = MODELS.build(cfg.model)
    for key, (rate, _) in rates(model, cfg).items():
        assert rate == pytest.approx(rates_of[0 if key.startswith('backbone.') else 1]), key
    norms = {key for key, part in model.named_modules() if isinstance(part, CrossRankBatchNorm2d)}
    wanted = [f'neck.1.{kind}_convs.{i}' for kind in ('lateral', 'fpn') for i in range(4)]
    wanted += [f'roi_head.{head}.{i}' for head in ('bbox_head.shared_convs', 'mask_head.convs') for i in range(4)]
    assert {f'{key}.bn' for key in wanted} | {'neck.0.scales.0.1'} == norms
    cfg.optim_wrapper.pop('accumulative_counts', None)
    optim_wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, dtype='float32'))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    np.random.seed(0)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    log = model.train_step(pseudo_collate([dataset[0], dataset[1]]), optim_wrapper)
    assert torch.isfinite(log['loss'])
    moved = {key.split('.')[0] for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {'backbone', 'neck', 'rpn_head', 'roi_head'}


def test_windows_and_pyramids_of_the_published_models():
    """Built in full, without memory: four blocks attend globally, and strides are those of the anchors."""
    for name, everywhere in (
        ('vit-b_mask-rcnn_lsj-100e', {2, 5, 8, 11}),
        ('vit-l_mask-rcnn_lsj-100e', {5, 11, 17, 23}),
        ('vit-b_mask-rcnn_lsj-100e_gan-mae', {2, 5, 8, 11}),
        ('vit-b_mask-rcnn_lsj-100e_vision-electra', {2, 5, 8, 11}),
        ('conv-vit-b_cascade-mask-rcnn_lsj-100e_cmae', {1, 4, 7, 10}),
        ('vit-b_mask-rcnn_3x_crossmae', set(range(12))),
    ):
        with torch.device('meta'):
            model = MODELS.build(resolved(name).model)
            size = 256
            maps = model.neck(model.backbone(torch.zeros(1, 3, size, size)))
        found = {i for i, block in enumerate(model.backbone.blocks) if block.attn.window is None}
        assert found == everywhere, name
        assert [tuple(m.shape) for m in maps] == [(1, 256, size // s, size // s) for s in (4, 8, 16, 32, 64)]
        assert [s[0] for s in model.rpn_head.prior_generator.strides] == [4, 8, 16, 32, 64]


def test_an_image_that_windows_do_not_divide_is_trained_on(data):
    """96 px are 6 patches, in windows of 4."""
    cfg = shrunk('vit-b_mask-rcnn_lsj-100e', data, size=96)
    cfg.model.backbone.window_size = 4
    model = MODELS.build(cfg.model)
    batch = pseudo_collate([DATASETS.build(cfg.train_dataloader.dataset)[0]])
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    assert torch.isfinite(losses['loss_mask']) and torch.isfinite(sum(losses['loss_rpn_bbox']))


def test_operators_that_take_no_bf16_work_under_autocast(data):
    """mmcv's RoIAlign and NMS; boxes keep their digits."""
    cfg = shrunk('vit-tiny_scenes_mask-rcnn', data)
    model = MODELS.build(cfg.model)
    model.init_weights()
    batch = model.data_preprocessor(pseudo_collate([DATASETS.build(cfg.train_dataloader.dataset)[0]]), True)
    seen = []
    extractor = model.roi_head.bbox_roi_extractor
    extractor.register_forward_hook(lambda _, args, out: seen.extend([args[1].dtype, out.dtype]))
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(**batch, mode='loss')
    assert torch.isfinite(losses['loss_cls']) and seen == [torch.float32, torch.float32]


@pytest.mark.parametrize('split, images', [('train2017', 318), ('val2017', 164)])
def test_the_subset_of_coco_is_read(split, images, photographs):
    """With its own files: 80 classes, and images without objects are left out of training alone."""
    root = photographs / 'coco_subset'
    cfg = config('vit-tiny_coco-subset_mask-rcnn', data_root=str(root))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(root)
    settle_detector(cfg)
    assert cfg.num_classes == 80 and cfg.classes[0] == 'person'
    dataset = DATASETS.build((cfg.train_dataloader if split == 'train2017' else cfg.val_dataloader).dataset)
    assert len(read(root, split)['images']) == images
    assert len(dataset) == (314 if split == 'train2017' else images)
    assert dataset[0]['inputs'].shape[0] == 3
