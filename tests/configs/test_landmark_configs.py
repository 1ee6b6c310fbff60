"""The configs for facial landmarks: each builds, reads a face and has a loss, and states the recipe it names."""

import copy
import runpy

import pytest
import torch
import yaml
from config_harness import ROOT, config, docstring, plain, resolved
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

pytest.importorskip('mmseg')

from mmmim.config.landmarks import settle_landmarks  # noqa: E402
from mmmim.config.prepare import set_up_scope  # noqa: E402
from mmmim.datasets import mim_collate  # noqa: E402
from mmmim.registry import DATASETS, METRICS, MODELS  # noqa: E402

FOLDER = 'configs/downstream/landmarks'
CONFIGS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / FOLDER).glob('*.py'))
FULL = [name for name in CONFIGS if 'vit-b' in name]
FACES = runpy.run_path(str(ROOT / 'tools/datasets/make_faces.py'))


@pytest.fixture(autouse=True)
def scope(mmmim_scope):
    set_up_scope(config(FULL[0]))
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp('faces')
    FACES['make_faces'](folder, train=2, test=2, size=64)
    return folder


def settled(name, **overrides):
    cfg = resolved(name)
    cfg.merge_from_dict(overrides)
    settle_landmarks(cfg)
    return cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_builds_reads_a_face_and_has_a_loss(name, faces):
    """With blocks and a head so small that two faces take no time; images, patches, maps and heatmaps stay."""
    depth = 12 if 'vit-b' in name else 6
    cfg = settled(name, **{'model.head.channels': 8, 'pretrained': None})
    size = cfg.image_size
    cfg.model.backbone.arch = dict(embed_dim=12, depth=depth, num_heads=3)
    cfg.model.neck.in_dim, cfg.model.head.in_channels = 12, [12] * 4
    model = MODELS.build(cfg.model)
    samples = {}
    for split in ('train', 'val', 'test'):
        dataset = dict(cfg[f'{split}_dataloader'].dataset, data_root=str(faces))
        found = DATASETS.build(dataset)
        samples[split] = [found[0], found[1]]
        assert samples[split][0]['inputs'].shape == (3, size, size)
    losses = model(**model.data_preprocessor(mim_collate(samples['train']), True), mode='loss')
    assert set(losses) == {'loss_heatmap', 'loss_coordinates'} and all(map(torch.isfinite, losses.values()))
    model.eval()
    batch = model.data_preprocessor(mim_collate(samples['val']), False)
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = found.metainfo
    metric.process(None, [sample.to_dict() for sample in model(**batch, mode='predict')])
    assert metric.evaluate(2)['landmarks/NME'] > 10


def test_keys_at_the_top_reach_another_backbone_or_are_refused():
    other = {'model.backbone': dict(_delete_=True, type='mmpretrain.ResNet', depth=18), 'pretrained': None}
    cfg = settled(CONFIGS[-1], **other, image_size=64, ema_decay=0.9)
    assert [step.size for step in cfg.test_dataloader.dataset.pipeline if 'FaceCrop' in step.type] == [64]
    assert 'mmengine.EMAHook' in [hook.type for hook in cfg.custom_hooks]
    with pytest.raises(ValueError, match="pretrained='a.pth' fills backbones of mmmim"):
        settled(CONFIGS[-1], **{**other, 'pretrained': 'a.pth'})


def test_faces_that_are_measured_are_not_mirrored():
    cfg = resolved(CONFIGS[-1])
    cfg.val_dataloader.dataset.pipeline.insert(2, dict(type='mmmim.MirrorFace'))
    with pytest.raises(ValueError, match='val_dataloader: MirrorFace swaps'):
        settle_landmarks(cfg)


@pytest.mark.parametrize('name', FULL)
def test_published_recipe(name):
    """FaRL's, written here once more."""
    cfg = settled(name)
    model, (_, crop, hidden, _) = cfg.model, cfg.train_dataloader.dataset.pipeline
    assert (model.backbone.arch, model.backbone.patch_size, model.backbone.img_size) == ('base', 16, 448)
    assert tuple(model.backbone.out_indices) == (3, 5, 7, 11)
    assert (model.head.channels, model.head.num_classes, model.head.in_channels) == (768, 98, [768] * 4)
    assert (model.heatmap_size, model.radius, model.distance) == (128, 5.0, 'euclidean')
    assert (model.heatmap_weight, model.coordinate_weight) == (1, 1)
    assert (crop.size, crop.grow, crop.shift, crop.rotate, crop.scale) == (448, 1.25, 0.05, 0.174, 0.1)
    assert hidden.type == 'mmmim.OccludeFace'
    assert cfg.test_dataloader.dataset.pipeline[1] == dict(type='mmmim.FaceCrop', size=448, grow=1.25)
    assert (cfg.max_epochs, cfg.warmup_epochs, cfg.total_batch_size, cfg.ema_decay) == (150, 0, 40, 0.999)
    assert cfg.train_dataloader.batch_size == 5 and [part.type for part in cfg.param_scheduler] == ['ConstantLR']
    assert [hook.momentum for hook in cfg.custom_hooks] == [pytest.approx(0.001)]


def test_the_encoder_has_a_hundredth_of_the_rate():
    cfg = settled(FULL[-1], **{'model.head.channels': 8})
    cfg.model.backbone.arch = dict(embed_dim=12, depth=12, num_heads=3)
    cfg.model.neck.in_dim, cfg.model.head.in_channels = 12, [12] * 4
    model, wrapper = MODELS.build(cfg.model), copy.deepcopy(cfg.optim_wrapper)
    wrapper.pop('accumulative_counts', None)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = build_optim_wrapper(model, wrapper).optimizer.param_groups
    rates = {names[id(p)]: (group['lr'], group['weight_decay']) for group in groups for p in group['params']}
    assert set(rates) == {name for name, p in model.named_parameters() if p.requires_grad}
    for name, (rate, decay) in rates.items():
        assert rate == pytest.approx(1e-4 if name.startswith('backbone.') else 1e-2) and decay == 1e-5, name


def test_one_size_governs_crops_and_positions():
    cfg = settled(FULL[0], image_size=256)
    crops = [
        split.dataset.pipeline[1].size for split in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    ]
    assert crops == [256] * 3 and cfg.model.backbone.img_size == 256


def test_metafile_has_the_numbers_of_the_docstrings():
    meta = yaml.safe_load((ROOT / FOLDER / 'metafile.yml').read_text())
    assert sorted(model['Config'] for model in meta['Models']) == FULL
    for model in meta['Models']:
        cfg = plain(model['Config'])
        assert (model['Metadata']['Epochs'], model['Metadata']['Batch Size']) == (
            cfg['max_epochs'],
            cfg['total_batch_size'],
        )
        for value in model['Results'][0]['Metrics'].values():
            assert f'{value}%' in docstring(model['Config'])


def test_pretraining_crops_faces_and_has_no_points(faces):
    with DefaultScope.overwrite_default_scope('mmmim'):
        for name in ('clip', 'vgg'):
            cfg = config(f'configs/crossmae/vit-b_wflw_{name}.py')
            for loader in (cfg.train_dataloader, cfg.test_dataloader):
                sample = DATASETS.build(dict(loader.dataset, data_root=str(faces)))[0]
                assert sample['inputs'].shape == (3, 224, 224) and sample['inputs'].float().std() > 5
                assert set(sample['data_samples'].keys()) == set()
