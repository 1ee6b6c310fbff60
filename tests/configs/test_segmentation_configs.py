"""The segmentation configs: each builds, reads an image with its mask, has a loss, and states the recipe it names."""

import copy

import numpy as np
import pytest
import torch
from harness import ROOT
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from PIL import Image
from seg_configs import FOLDER, config, resolved, shrunk

pytest.importorskip('mmseg')
from mmseg.registry import DATASETS, MODELS  # noqa: E402

from mmmim.config.load import load_config  # noqa: E402
from mmmim.config.prepare import set_up_scope  # noqa: E402
from mmmim.config.schedule import leave_out_shares, set_batch_and_lr  # noqa: E402
from mmmim.config.segmentation import settle_segmentor  # noqa: E402
from mmmim.engine.hooks.check_data import MaskError, check_masks  # noqa: E402

CONFIGS = sorted(path.stem for path in FOLDER.glob('*.py'))
PUBLISHED = {  # arch, drop path, lr, layer decay, steps, batch
    'vit-b_upernet_160k': ('base', 0.1, 1e-4, 0.65, 160000, 16),
    'vit-l_upernet_160k': ('large', 0.2, 1e-4, 0.75, 160000, 16),
    'vit-b_upernet_160k_cmae': ('base', 0.1, 1e-4, 0.65, 160000, 16),
    'conv-vit-b_upernet_160k_cmae': ('base', 0.1, 1e-4, 0.65, 160000, 16),
    'vit-b_upernet_160k_gan-mae': ('base', 0.1, 1e-4, 0.65, 160000, 64),
    'vit-b_upernet_160k_crossmae': ('base', 0.1, 7e-4, 0.65, 160000, 16),
    'vit-b_linear_160k_crossmae': ('base', 0.1, 7e-4, 0.65, 160000, 16),
    'vit-b_upernet_16k_vision-electra': ('base', 0.1, 1e-4, 0.65, 16000, 8),
    'swin-b_upernet_160k': ('base', 0.3, 6e-5, 1.0, 160000, 16),
}


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """An image of 100 x 80 pixels and its mask, with the values 0, 1, 2 and 255."""
    folder = tmp_path_factory.mktemp('pair')
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(folder / 'image.jpg')
    mask = np.repeat(np.array([0, 1, 2, 255], np.uint8), 25)[None].repeat(80, 0)
    Image.fromarray(mask).save(folder / 'mask.png')
    return dict(img_path=str(folder / 'image.jpg'), seg_map_path=str(folder / 'mask.png'), label_map=None)


@pytest.fixture(autouse=True)
def scope(mmmim_scope):
    set_up_scope(config('vit-b_upernet_160k'))
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def read(dataset, pair, seed=0):
    np.random.seed(seed)
    reduced = True if dataset.type == 'ADE20KDataset' else dataset.reduce_zero_label
    return Compose(dataset.pipeline)(dict(pair, seg_fields=[], reduce_zero_label=reduced))


@pytest.mark.parametrize('name', CONFIGS)
def test_builds_reads_an_image_with_its_mask_and_has_a_loss(name, pair):
    cfg = shrunk(name)
    model = MODELS.build(cfg.model)
    model.init_weights()
    dataset = cfg.train_dataloader.dataset
    batch = pseudo_collate([read(dataset, pair, seed) for seed in (0, 1)])
    labels = torch.unique(batch['data_samples'][0].gt_sem_seg.data).tolist()
    assert set(labels) <= ({0, 1, 255} if dataset.get('reduce_zero_label', True) else {0, 1, 2, 255})
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    heads = {'decode'} if 'linear' in name else {'decode', 'aux'}
    assert {key.split('.')[0] for key in losses} == heads
    total = sum(value for key, value in losses.items() if 'loss' in key)
    assert torch.isfinite(total)
    total.backward()
    missing = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    sample = read(cfg.test_dataloader.dataset, pair)
    result = model.eval().test_step(pseudo_collate([sample]))[0]
    assert result.pred_sem_seg.data.shape == (1, 80, 100)  # of the image, whatever its scale was
    assert result.gt_sem_seg.data.shape == (1, 80, 100)


@pytest.mark.parametrize('name', CONFIGS)
def test_crops_have_the_size_of_the_backbone(name, pair):
    cfg = resolved(name)
    height, width = cfg.model.data_preprocessor.size
    sample = read(cfg.train_dataloader.dataset, pair, seed=3)
    assert sample['inputs'].shape[1] <= height and sample['inputs'].shape[2] <= width
    assert tuple(cfg.model.backbone.get('img_size', ())) == (() if name.startswith('swin') else (height, width))
    assert height == (512 if 'tiny' not in name else 160 if 'camvid' in name else 96)


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_recipes(name):
    arch, drop_path, lr, decay, steps, batch = PUBLISHED[name]
    cfg = resolved(name, processes=4)
    backbone, optimizer = cfg.model.backbone, cfg.optim_wrapper.optimizer
    swin = name.startswith('swin')
    assert (backbone.arch, backbone.patch_size, backbone.drop_path_rate) == (arch, 4 if swin else 16, drop_path)
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', lr, 0.01 if swin else 0.05)
    assert tuple(optimizer.betas) == (0.9, 0.999)
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == decay
    assert 4 * cfg.train_dataloader.batch_size * cfg.optim_wrapper.accumulative_counts == cfg.total_batch_size == batch
    warmup, decay = cfg.param_scheduler
    assert (warmup.type, warmup.begin, warmup.end) == ('LinearLR', 0, 1500)
    assert (decay.type, decay.power, decay.eta_min, decay.begin, decay.end) == ('PolyLR', 1.0, 0.0, 1500, steps)
    assert cfg.train_cfg.max_iters == steps and cfg.train_cfg.type == 'IterBasedTrainLoop'
    assert cfg.train_dataloader.sampler.type == 'InfiniteSampler'
    _, _, resize, crop, flip, distort, _ = cfg.train_dataloader.dataset.pipeline
    assert (resize.scale, resize.ratio_range, crop.crop_size, crop.cat_max_ratio) == (
        (2048, 512),
        (0.5, 2.0),
        (512, 512),
        0.75,
    )
    assert (flip.prob, distort.type) == (0.5, 'PhotoMetricDistortion')
    assert cfg.test_dataloader.dataset.pipeline[1] == dict(type='Resize', scale=(2048, 512), keep_ratio=True)
    assert cfg.model.test_cfg == dict(mode='slide', crop_size=(512, 512), stride=(341, 341))
    assert cfg.model.decode_head.num_classes == 150


@pytest.mark.parametrize('name', [name for name in PUBLISHED if 'upernet' in name])
def test_published_heads(name):
    model = resolved(name).model
    width = 1024 if 'vit-l' in name else 512 if name.startswith('swin') else 768
    widths = dict(conv=[256, 384, 768, 768], swin=[128, 256, 512, 1024]).get(name[:4], [width] * 4)
    head, auxiliary = model.decode_head, model.auxiliary_head
    assert (head.type, head.in_channels, head.channels, head.pool_scales) == ('UPerHead', widths, width, (1, 2, 3, 6))
    assert (auxiliary.type, auxiliary.in_index, auxiliary.in_channels, auxiliary.channels) == ('FCNHead', 2, width, 256)
    assert auxiliary.loss_decode.loss_weight == 0.4
    assert head.norm_cfg.type == auxiliary.norm_cfg.type == 'mmmim.CrossRankBatchNorm2d'
    if name.startswith('vit'):
        assert model.backbone.out_indices == ((7, 11, 15, 23) if 'vit-l' in name else (3, 5, 7, 11))
        assert model.backbone.relative_positions == 'separate' and not model.backbone.final_norm


def test_a_linear_decoder_is_one_linear_layer():
    cfg = shrunk('vit-b_linear_160k_crossmae')
    model = MODELS.build(cfg.model)
    assert {key for key, _ in model.named_parameters() if not key.startswith('backbone.')} == {
        'decode_head.conv_seg.weight',
        'decode_head.conv_seg.bias',
    }
    assert model.decode_head.conv_seg.weight.shape == (150, 24, 1, 1) and model.decode_head.dropout is None


def test_cmae_initialises_every_new_convolution_by_xavier():
    """Uniform within sqrt(6 / (fan in + fan out)); mmseg's own start lies elsewhere."""

    def share(name):
        model = MODELS.build(shrunk(name).model)
        model.init_weights()
        found = []
        for key, module in model.named_modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)) and not key.startswith('backbone.'):
                field = module.weight[0, 0].numel()
                bound = (6 / (sum(module.weight.shape[:2]) * field)) ** 0.5
                largest = module.weight.abs().max().item()
                found.append(0.8 * bound < largest <= bound and (module.bias is None or not module.bias.any()))
        return sum(found) / len(found)

    assert share('vit-b_upernet_160k_cmae') == share('conv-vit-b_upernet_160k_cmae') == 1
    assert share('vit-b_upernet_160k') < 0.2


@pytest.mark.parametrize('name', CONFIGS)
def test_keys_at_the_top_reach_their_places(name):
    data_root = config(name).data_root
    cfg = load_config(
        str(FOLDER / f'{name}.py'),
        dict(
            data_root=f'{data_root}/moved',
            num_classes=3,
            classes=['a', 'b', 'c'],
            crop_size=(64, 96),
            scale=(128, 64),
            max_iters=100,
            warmup_iters=10,
            pretrained='checkpoint.pth',
        ),
    )
    settle_segmentor(cfg)
    model = cfg.model
    assert model.backbone.init_cfg == dict(type='Pretrained', checkpoint='checkpoint.pth', prefix='backbone.')
    assert model.backbone.get('img_size', (64, 96)) == model.data_preprocessor.size == (64, 96)
    assert model.decode_head.num_classes == model.get('auxiliary_head', model.decode_head).num_classes == 3
    if model.test_cfg.mode == 'slide':
        assert (model.test_cfg.crop_size, model.test_cfg.stride) == ((64, 96), (42, 64))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        dataset = loader.dataset
        assert dataset.data_root == f'{data_root}/moved'
        assert dataset.type == 'ADE20KDataset' or dataset.classes == ['a', 'b', 'c']
        assert [step.scale for step in dataset.pipeline if 'Resize' in step.type] == [(128, 64)]
    assert cfg.train_dataloader.dataset.pipeline[3].crop_size == (64, 96)
    assert cfg.train_cfg.max_iters == 100
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 10), (10, 100)]


def test_without_a_warm_up_the_decay_begins_at_once():
    cfg = resolved('vit-b_upernet_160k', warmup_iters=0)
    assert [(s.type, s.begin, s.end) for s in cfg.param_scheduler] == [('PolyLR', 0, 160000)]


def test_lengths_are_steps_where_batches_are_accumulated():
    cfg = resolved('vit-b_upernet_160k', processes=2, max_batch_per_device=2)
    assert (cfg.train_dataloader.batch_size, cfg.optim_wrapper.accumulative_counts) == (2, 4)
    assert cfg.train_cfg.max_iters == 640000 and cfg.train_cfg.val_interval == 64000
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 6000), (6000, 640000)]
    assert cfg.default_hooks.checkpoint.interval == 64000


def test_the_copy_in_a_work_dir_can_be_settled_again():
    """Earlier versions wrote what they ran; run once more, with other keys too, it is what the config would be."""
    cfg = resolved('vit-b_upernet_160k', processes=2, max_batch_per_device=2, pretrained='a.pth', tta=True)
    for options in (
        dict(),
        dict(max_batch_per_device=4),
        dict(pretrained=None),
        dict(tta=False, pretrained='b.pth'),
        dict(tta=True, scale=(1024, 256)),
        dict(max_batch_per_device=None),
    ):
        leave_out_shares(cfg)  # as load_config does
        cfg.merge_from_dict(options)
        set_batch_and_lr(cfg, 2)
        settle_segmentor(cfg)
        keys = {key: cfg[key] for key in ('max_batch_per_device', 'pretrained', 'tta', 'scale')}
        fresh = resolved('vit-b_upernet_160k', processes=2, **keys)
        for part in ('model', 'train_cfg', 'test_cfg', 'test_dataloader', 'param_scheduler', 'default_hooks'):
            assert cfg[part] == fresh[part], (options, part)


def test_a_prefix_of_the_config_stays_with_another_file():
    cfg = resolved('vit-b_upernet_160k', pretrained='a.pth', **{'model.backbone.init_cfg': dict(prefix='target.')})
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint='a.pth', prefix='target.')


def test_accumulation_without_a_checkpoint_hook():
    cfg = resolved('vit-b_upernet_160k', processes=2, max_batch_per_device=2, **{'default_hooks.checkpoint': None})
    assert cfg.train_cfg.val_interval == 64000


@pytest.mark.parametrize(
    'overrides, message',
    [
        (dict(num_classes=3, classes=['a', 'b']), 'num_classes=3, but `classes` names 2'),
        (dict(num_classes=1), 'what is not of the one class is a class, too'),
        (dict(warmup_iters=1), 'warmup_iters=1: .* set it to 0 or to 2'),
        (dict(warmup_iters=160000), 'warmup_iters=160000 must be below max_iters=160000'),
        (dict(max_iters=None, max_batch_per_device=1), 'accumulated.*max_iters'),
    ],
    ids=['classes', 'one', 'one-step', 'warm-up', 'length'],
)
def test_contradictions_are_errors(overrides, message):
    with pytest.raises(ValueError, match=message):
        resolved('vit-b_upernet_160k', **overrides)


@pytest.mark.parametrize(
    'name, folder', [('vit-b_upernet_160k', 'ade20k_sample'), ('vit-tiny_camvid_upernet', 'camvid')]
)
def test_real_masks_are_what_their_config_says(name, folder, photographs):
    """All classes are read right: CamVid's are all there, and with one class less the largest would be refused."""
    cfg = resolved(name, data_root=str(photographs / folder))
    cfg.val_dataloader.dataset.data_root = cfg.data_root
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    check_masks(dataset, 'validation', cfg.model.decode_head.num_classes, max_masks=20)
    assert len(dataset) == (3 if folder == 'ade20k_sample' else 101)
    if folder == 'camvid':
        item = dataset[0]  # the image is resized, the mask is not
        assert (item['inputs'].shape, item['data_samples'].gt_sem_seg.shape) == ((3, 180, 240), (360, 480))
        labels = {int(v) for i in range(20) for v in torch.unique(dataset[i]['data_samples'].gt_sem_seg.data)}
        assert labels == {*range(11), 255}
        dataset._metainfo['classes'] = dataset._metainfo['classes'][:10]
        with pytest.raises(MaskError, match='Not so 11: set num_classes=11'):
            check_masks(dataset, 'validation', 10, max_masks=20)


def test_other_models_are_left_alone():
    for name in ('configs/mae/vit-tiny_folder.py', 'configs/downstream/classification/vit-tiny_folder_finetune.py'):
        cfg = load_config(str(ROOT / name))
        before = copy.deepcopy(cfg._cfg_dict)
        settle_segmentor(cfg)
        assert cfg._cfg_dict == before
