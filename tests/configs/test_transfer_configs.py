"""Few labels, transfer and robustness: every config reads its published layout, in miniature, and runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from config_harness import resolved
from mmengine.registry import DefaultScope
from PIL import Image

from mmmim.config.load import load_config
from mmmim.datasets.imagenet_variants import CORRUPTIONS
from mmmim.engine.launch import build_runner
from mmmim.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = 'configs/downstream/classification'
FEW, TRANSFER, ROBUSTNESS = (
    sorted(path.stem for path in (ROOT / FOLDER / part).glob('*.py'))
    for part in ('few_labels', 'transfer', 'robustness')
)
WNIDS = ('n01440764', 'n01443537', 'n01484850', 'n01491361')
TINY = {'model.backbone.arch': dict(_delete_=True, embed_dim=32, depth=1, num_heads=2)}


def fill(root, *names, size=40):
    """Images of noise."""
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(root / name, format='PNG')


def load(name, root, **overrides):
    """The config with small blocks, of images under ``root``, without workers."""
    work_dir = root.with_name(f'{root.name}_work_dir')  # beside the data: a folder in it would be taken for a class
    cfg = load_config(str(ROOT / FOLDER / f'{name}.py'), {'data_root': str(root), **overrides}, str(work_dir))
    cfg.merge_from_dict(TINY)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, batch_size=4, persistent_workers=False)
    cfg.visualizer.vis_backends = []
    return cfg


def build_data(cfg, loader):
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg[loader].dataset)
        dataset.full_init()
    return dataset


# ---------------------------------------------------------------------------------------------------------- transfer


def inaturalist(root, year):
    folder = 'train_val_images' if year == 2017 else f'train_val{year}'
    for split, count in (('train', 6), ('val', 3)):
        names = [f'{folder}/Aves/{i % 3}/{split}{i}.jpg' for i in range(count)]
        fill(root, *names)
        (root / f'{split}{year}.json').write_text(
            json.dumps(
                dict(
                    images=[dict(id=i, file_name=name) for i, name in enumerate(names)],
                    annotations=[dict(id=i, image_id=i, category_id=i % 3) for i in range(count)],
                    categories=[dict(id=i, name=str(i)) for i in range(3)],
                )
            )
        )


def places205(root):
    fill(root / 'data/vision/torralba/deeplearning/images256', *(f'a/abbey/gsun_{i}.jpg' for i in range(9)))
    (root / 'trainvalsplit_places205').mkdir()
    for split, places in (('train', range(6)), ('val', range(6, 9))):
        (root / f'trainvalsplit_places205/{split}_places205.csv').write_text(
            ''.join(f'a/abbey/gsun_{i}.jpg {i % 3}\n' for i in places)
        )


def places365(root):
    fill(
        root,
        *(f'data_256/a/airfield/{i:08d}.jpg' for i in range(6)),
        *(f'val_256/Places365_val_{i:08d}.jpg' for i in range(3)),
    )
    (root / 'places365_train_standard.txt').write_text(''.join(f'/a/airfield/{i:08d}.jpg {i % 3}\n' for i in range(6)))
    (root / 'places365_val.txt').write_text(''.join(f'Places365_val_{i:08d}.jpg {i}\n' for i in range(3)))


def class_folders(root):
    fill(root, *(f'train/{i % 3}/{i}.jpg' for i in range(6)), *(f'val/{i}/{i}.jpg' for i in range(3)))


SETS = {
    **{f'inaturalist{year}': (lambda root, year=year: inaturalist(root, year)) for year in (2017, 2018, 2019)},
    'places205': places205,
    'places365': places365,
}
LAYOUTS = {
    **{f'{size}_{name}': layout for size in ('vit-b', 'vit-l', 'vit-h', 'vit-h448') for name, layout in SETS.items()},
    'vit-b_inaturalist2019_long': SETS['inaturalist2019'],
    'vit-b_folder': class_folders,
}
CLASSES = dict(inaturalist2017=5089, inaturalist2018=8142, inaturalist2019=1010, places205=205, places365=365)


def test_every_transfer_config_has_a_layout():
    assert set(LAYOUTS) == set(TRANSFER)


@pytest.mark.parametrize('name', TRANSFER)
def test_transfer_reads_the_published_layout_and_validates(name, tmp_path):
    LAYOUTS[name](tmp_path)
    cfg = load(f'transfer/{name}', tmp_path)
    if name.split('_')[1] in CLASSES:
        assert cfg.num_classes == CLASSES[name.split('_')[1]]
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = cfg[loader].dataset
        if 'INaturalist' in dataset.type:
            dataset.num_classes = 3  # of the miniature
    cfg.num_classes = 3
    train, val = build_data(cfg, 'train_dataloader'), build_data(cfg, 'val_dataloader')
    assert sorted(train.get_labels().tolist()) == [0, 0, 1, 1, 2, 2] and val.get_labels().tolist() == [0, 1, 2]
    size = 448 if '448' in name else 224
    assert train[0]['inputs'].shape == val[0]['inputs'].shape == (3, size, size)
    for key in ('total_batch_size', 'max_epochs'):
        cfg.pop(key)
    result = build_runner(cfg).test()
    assert round(3 * result['accuracy/top1'] / 100, 6) in (0, 1, 2, 3)


def test_wrong_layouts_say_what_was_expected(tmp_path):
    fill(tmp_path, 'some/photo.jpg')
    for name, message in (
        ('inaturalist2018', 'train2018.json.*published annotation file'),
        ('places365', 'places365_train_standard.txt and data_256_standard'),
        ('places205', 'train_places205.csv'),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            build_data(load(f'transfer/vit-b_{name}', tmp_path), 'train_dataloader')


# -------------------------------------------------------------------------------------------------------- few labels


@pytest.mark.parametrize('name', [name for name in FEW if 'tiny' not in name])
def test_few_labels_of_imagenet(name, tmp_path):
    names = [f'train/{wnid}/{wnid}_{i}.JPEG' for wnid in WNIDS for i in range(3)]
    fill(tmp_path, *names)
    share = name.split('_')[1]
    (tmp_path / f'{share}.txt').write_text(f'{WNIDS[2]}_1.JPEG\n{WNIDS[0]}_2.JPEG\n')
    cfg = load(f'few_labels/{name}', tmp_path)
    dataset = build_data(cfg, 'train_dataloader')
    assert dataset.get_labels().tolist() == [2, 0] and dataset.metainfo['classes'] == WNIDS
    assert dataset[0]['data_samples'].img_path == str(tmp_path / f'train/{WNIDS[2]}/{WNIDS[2]}_1.JPEG')
    elsewhere = tmp_path / 'elsewhere.txt'
    (tmp_path / f'{share}.txt').rename(elsewhere)
    with pytest.raises(FileNotFoundError, match=f'{share}.txt.*draw_label_subset.py {tmp_path}/train'):
        build_data(cfg, 'train_dataloader')
    given = load(f'few_labels/{name}', tmp_path, **{'train_dataloader.dataset.ann_file': str(elsewhere)})
    assert len(build_data(given, 'train_dataloader')) == 2
    assert cfg.val_dataloader.dataset.data_root == str(tmp_path / 'val')


@pytest.mark.parametrize('name', FEW)
def test_few_labels_are_validated_at_the_end(name):
    cfg = load_config(str(ROOT / FOLDER / f'few_labels/{name}.py'))
    assert cfg.max_epochs % cfg.train_cfg.val_interval == 0


@pytest.mark.parametrize(
    'name, rate, epochs, decay',
    [
        ('few_labels/vit-s_1percent', 1e-5, 1000, 1.0),  # iBOT: 5e-6 * 1024 / 512
        ('few_labels/vit-b_10percent', 1e-5, 1000, 1.0),
        ('few_labels/vit-s_1percent_crossmae', 4e-3, 400, 0.65),  # Table 18: 1e-3 * 1024 / 256
        ('transfer/vit-b_inaturalist2019_long', 7.5e-5, 360, 1.0),  # DeiT, after scaling
        ('swin-b_finetune_100e_crossmae', 4e-3, 100, 0.9),
        ('transfer/vit-l_places205', 4e-3, 50, 0.75),  # MAE's of this size
        ('transfer/vit-h448_places205', 4e-3, 50, 0.75),
        ('vit-l_finetune_50e_cmae', 1e-3, 50, 0.75),  # 2.5e-4 * 1024 / 256
        ('vit-s_finetune_100e_cmae', 1e-3, 100, 0.65),
        ('vit-l_scratch-original_300e', 3e-3, 300, 1.0),
    ],
)
def test_recipes_of_the_cited_sources(name, rate, epochs, decay):
    cfg = resolved(f'{FOLDER}/{name}.py', processes=8)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(rate) and cfg.max_epochs == epochs
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == decay
    if 'long' in name:
        pipeline, whole = (
            c.train_dataloader.dataset.pipeline for c in (cfg, resolved(f'{FOLDER}/vit-b_finetune_100e.py'))
        )
        assert pipeline[4].pop('erase_prob') == 0.1 and whole[4].pop('erase_prob') == 0.25 and pipeline == whole


def test_no_block_of_swin_is_almost_frozen():
    cfg = load_config(str(ROOT / FOLDER / 'swin-b_finetune_100e_crossmae.py'))
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate**25 > 0.05  # of 24 blocks and the projection


@pytest.mark.runs
def test_a_share_of_a_folder_trains_and_learns(tmp_path):
    """Half of the labels of stripes that stand or lie; validated on other images."""
    rng = np.random.default_rng(0)
    for split, count in (('train', 32), ('val', 40)):
        for name in ('lying', 'standing'):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                stripes = np.sin(np.arange(32) * rng.uniform(0.8, 1.2) + rng.uniform(0, 6))
                pixels = 128 + 80 * np.tile(stripes, (32, 1)) + rng.normal(0, 10, (32, 32))
                pixels = (pixels if name == 'standing' else pixels.T).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f'{i}.png')
    cfg = load(
        'few_labels/vit-tiny_folder_10percent',
        tmp_path,
        **{
            'num_classes': 2,
            'train_dataloader.dataset.share': 0.5,
            'total_batch_size': 16,
            'max_epochs': 30,
            'warmup_epochs': 2,
            'base_lr': 6e-2,
            'train_cfg.val_interval': 30,
            'optim_wrapper.dtype': 'float32',
            'model.backbone.img_size': 32,
        },
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        for step in loader.dataset.get('dataset', loader.dataset).pipeline:
            if 'size' in step:
                step.size = 32
    cfg.train_dataloader.pop('batch_size')  # follows from the total
    runner = build_runner(cfg)
    runner.train()
    assert len(runner.train_dataloader.dataset) == 32 and runner.iter == 2 * 30
    assert runner.val_loop.run()['accuracy/top1'] > 80


@pytest.mark.parametrize('name, images', [('vit-tiny_cifar10_1percent', 10), ('vit-tiny_cifar10_10percent', 10)])
def test_share_of_cifar10(name, images, tmp_path):
    names = [f'{split}/{c}/{i}.png' for split in ('train', 'val') for c in range(10) for i in range(6)]
    fill(tmp_path, *names, size=32)
    cfg = load(f'few_labels/{name}', tmp_path)
    dataset = build_data(cfg, 'train_dataloader')
    assert len(dataset) == images and sorted(dataset.get_labels().tolist()) == list(range(10))
    assert dataset[0]['inputs'].shape == (3, 32, 32)
    assert len(build_data(cfg, 'val_dataloader')) == 60


# -------------------------------------------------------------------------------------------------------- robustness


def evaluate(cfg, root, ranking):
    """Test a checkpoint of a classifier that ranks these classes first, whatever it sees."""
    for key in ('total_batch_size', 'max_epochs'):  # as tools/test.py does
        cfg.pop(key)
    model = build_runner(cfg.copy()).model
    with torch.no_grad():
        model.head.fc.weight.zero_()
        model.head.fc.bias.zero_()
        model.head.fc.bias[ranking] = torch.arange(len(ranking), 0, -1, dtype=torch.float)
    torch.save(model.state_dict(), root / 'classifier.pth')
    cfg.load_from = str(root / 'classifier.pth')
    cfg.experiment_name = 'measured'
    return build_runner(cfg).test()


def test_imagenet_c(tmp_path):
    fill(
        tmp_path,
        *(f'{name}/{severity}/{wnid}/1.JPEG' for name in CORRUPTIONS for severity in range(1, 6) for wnid in WNIDS[:2]),
        size=8,
    )
    cfg = load('robustness/vit-b_imagenet-c', tmp_path, **{'test_dataloader.dataset.num_folders': 2})
    cfg.test_dataloader.batch_size = 50
    result = evaluate(cfg, tmp_path, [0, 7])  # always right about the first of the two classes
    assert result['imagenet-c/top1'] == 50 and result['imagenet-c/error_fog'] == 50
    assert result['imagenet-c/mCE'] == pytest.approx(64.6, abs=0.1)  # 50% of each, relative to AlexNet


@pytest.mark.parametrize('name', ['a', 'r'])
def test_imagenet_a_and_r(name, tmp_path):
    fill(tmp_path, *(f'{wnid}/1.jpg' for wnid in WNIDS[1:]))
    cfg = load(f'robustness/vit-b_imagenet-{name}', tmp_path, **{'test_dataloader.dataset.num_folders': 3})
    # the largest score is class 500's, which is not among the three; then comes class 2
    assert evaluate(cfg, tmp_path, [500, 2]) == {
        f'imagenet-{name}/top1': pytest.approx(100 / 3),
        f'imagenet-{name}/top1_all_classes': 0,
    }


def test_imagenet_sketch(tmp_path):
    fill(tmp_path, *(f'{wnid}/1.JPEG' for wnid in WNIDS))
    cfg = load('robustness/vit-b_imagenet-sketch', tmp_path, **{'test_dataloader.dataset.num_folders': 4})
    assert evaluate(cfg, tmp_path, [3, 0, 9, 10, 11]) == {'accuracy/top1': 25, 'accuracy/top5': 50}


@pytest.mark.parametrize('name', ROBUSTNESS)
def test_published_counts_are_asked_for(name, tmp_path):
    fill(tmp_path, *(f'{wnid}/1.JPEG' for wnid in WNIDS))
    kind = FileNotFoundError if name.endswith('-c') else ValueError
    expected = '<corruption>/<severity>/' if name.endswith('-c') else 'has 4 folders.*Expected: (200|1000) folders'
    with pytest.raises(kind, match=expected):
        build_data(load(f'robustness/{name}', tmp_path), 'test_dataloader')
