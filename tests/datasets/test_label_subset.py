"""A share of the labels: drawn, or by published lists; and the published layouts of transfer data sets."""

import json

import numpy as np
import pytest
from PIL import Image

from mmmim.datasets import ImageFolder, ImageSubset, INaturalist, Places, draw_per_class, label_share
from mmmim.registry import DATASETS


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4)).save(root / name, format='PNG')


@pytest.fixture
def folders(tmp_path):
    """Classes of 40, 20 and 3 images, named as ImageNet's."""
    for name, count in (('n01', 40), ('n02', 20), ('n03', 3)):
        fill(tmp_path / 'train', *(f'{name}/{name}_{i}.JPEG' for i in range(count)))
    return tmp_path


# ------------------------------------------------------------------------------------------------------- the draw


@pytest.mark.parametrize('share, expected', [(0.01, [1, 1, 1]), (0.1, [4, 2, 1]), (0.5, [20, 10, 2]), (1, [40, 20, 3])])
def test_every_class_gives_its_share(share, expected):
    labels = np.repeat([0, 1, 2], [40, 20, 3])
    chosen = draw_per_class(labels, share)
    assert np.bincount(labels[chosen]).tolist() == expected
    assert chosen == sorted(set(chosen))


def test_the_draw_depends_on_the_seed_alone():
    labels = np.arange(2000) % 10
    assert draw_per_class(labels, 0.1, seed=3) == draw_per_class(labels.tolist(), 0.1, seed=3)
    others = [draw_per_class(labels, 0.1, seed=seed) for seed in range(20)]
    assert len({tuple(chosen) for chosen in others}) == 20
    # each image about as often as any other
    counts = np.bincount(np.concatenate(others), minlength=2000)
    assert counts.max() < 10 and (counts == 0).mean() == pytest.approx(0.9**20, abs=0.04)


@pytest.mark.parametrize('share', [0, -0.1, 1.5])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match='must lie in'):
        draw_per_class([0, 1], share)


def test_label_share_of_any_data_set(folders):
    cfg = dict(type='ImageFolder', data_root=str(folders / 'train'))
    dataset = DATASETS.build(dict(type='label_share', dataset=cfg, share=0.1))
    assert np.bincount(dataset.get_labels()).tolist() == [4, 2, 1]
    assert dataset.metainfo['classes'] == ('n01', 'n02', 'n03')
    chosen = draw_per_class(ImageFolder(str(folders / 'train')).get_labels(), 0.1)
    whole = ImageFolder(str(folders / 'train'))
    assert [dataset.get_data_info(i)['img_path'] for i in range(7)] == [
        whole.get_data_info(i)['img_path'] for i in chosen
    ]
    with pytest.raises(ValueError, match='has no labels'):
        label_share(dict(cfg, with_label=False), 0.1)


# ------------------------------------------------------------------------------------------------ published lists


def test_list_of_file_names(folders):
    (folders / '1percent.txt').write_text('n03_1.JPEG\nn01_17.JPEG\n\nn03_0.JPEG\r\n')
    dataset = ImageSubset(str(folders), '1percent.txt', data_prefix=dict(img_path='train'))
    assert [dataset.get_data_info(i)['img_path'] for i in range(3)] == [
        str(folders / 'train' / name) for name in ('n03/n03_1.JPEG', 'n01/n01_17.JPEG', 'n03/n03_0.JPEG')
    ]
    # n02 has no image in the list, and is a class all the same
    assert dataset.get_labels().tolist() == [2, 0, 2] and dataset.metainfo['classes'] == ('n01', 'n02', 'n03')


def test_list_of_paths_with_and_without_labels(folders):
    for text in ('n02/n02_3.JPEG\nn01/n01_0.JPEG\n', 'n02/n02_3.JPEG 7\nn01/n01_0.JPEG 5\n'):
        (folders / 'list.txt').write_text(text)
        dataset = ImageSubset(str(folders / 'train'), str(folders / 'list.txt'))
        assert dataset.get_labels().tolist() == [1, 0]
    unlabelled = ImageSubset(str(folders / 'train'), str(folders / 'list.txt'), with_label=False)
    assert 'gt_label' not in unlabelled.get_data_info(0)


@pytest.mark.parametrize('line', ['n09_1.JPEG', 'photo.JPEG', 'n09/n09_1.JPEG 1', '/n01/n01_0.JPEG'])
def test_a_line_that_names_no_class_is_refused(folders, line):
    (folders / 'list.txt').write_text(f'n01_1.JPEG\n{line}\n')
    with pytest.raises(ValueError, match='list.txt, line 2: .* is in no class folder'):
        ImageSubset(str(folders), 'list.txt', data_prefix=dict(img_path='train'))


def test_missing_list_and_missing_images(folders):
    with pytest.raises(FileNotFoundError, match='1percent.txt.*draw_label_subset.py .*train --share'):
        ImageSubset(str(folders), '1percent.txt', data_prefix=dict(img_path='train'))
    (folders / 'list.txt').write_text('n01_1.JPEG\nn01_99.JPEG\n')
    with pytest.raises(FileNotFoundError, match='1 of the 2 images(?s:.*)line 2: n01/n01_99.JPEG'):
        ImageSubset(str(folders), 'list.txt', data_prefix=dict(img_path='train'))
    (folders / 'empty.txt').write_text('\n')
    with pytest.raises(ValueError, match='is empty'):
        ImageSubset(str(folders), 'empty.txt', data_prefix=dict(img_path='train'))


# --------------------------------------------------------------------------------------------------- iNaturalist


def inaturalist(root, year, names, ids=(0, 1, 2), category_of=lambda i: i % 3, split='train'):
    fill(root, *names)
    # ids of images are arbitrary, and annotations come in another order
    images = [dict(id=100 + 7 * i, file_name=name, width=4, height=4) for i, name in enumerate(names)]
    annotations = [dict(id=i, image_id=image['id'], category_id=ids[category_of(i)]) for i, image in enumerate(images)]
    content = dict(info={}, images=images, annotations=annotations[::-1], categories=[dict(id=i) for i in ids][::-1])
    (root / f'{split}{year}.json').write_text(json.dumps(content))
    return content


@pytest.mark.parametrize('year, folder', [(2017, 'train_val_images'), (2018, 'train_val2018'), (2019, 'train_val2019')])
def test_inaturalist_as_published(tmp_path, year, folder):
    names = [f'{folder}/Plantae/{i}/{i:04x}.jpg' for i in range(7)]
    inaturalist(tmp_path, year, names)
    inaturalist(tmp_path, year, names[:2], category_of=lambda i: 2 - i, split='val')
    train = INaturalist(str(tmp_path), year, num_classes=3)
    assert [train.get_data_info(i)['img_path'] for i in range(7)] == [str(tmp_path / name) for name in names]
    assert train.get_labels().tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert INaturalist(str(tmp_path), year, 'val', num_classes=3).get_labels().tolist() == [2, 1]
    with pytest.raises(ValueError, match='has 3 categories, but .* were expected: set `year`'):
        INaturalist(str(tmp_path), year)


def test_category_ids_need_not_begin_at_0(tmp_path):
    inaturalist(tmp_path, 2019, ['a/0.jpg', 'a/1.jpg', 'a/2.jpg'], ids=(40, 7, 12))
    assert INaturalist(str(tmp_path), num_classes=3).get_labels().tolist() == [2, 0, 1]


def test_another_layout_than_inaturalists(tmp_path):
    with pytest.raises(FileNotFoundError, match='train2018.json.*published annotation file'):
        INaturalist(str(tmp_path), 2018)
    content = inaturalist(tmp_path, 2018, ['a/0.jpg', 'a/1.jpg'])
    for broken in (
        [],
        dict(content, categories=[dict(id=5)]),
        dict(content, annotations=[]),
        dict(content, images=[]),
        {key: content[key] for key in ('images', 'annotations')},
    ):
        (tmp_path / 'train2018.json').write_text(json.dumps(broken))
        with pytest.raises(ValueError, match='train2018.json: not .*"images".*iNaturalist competition'):
            INaturalist(str(tmp_path), 2018, num_classes=3)
    (tmp_path / 'train2018.json').write_text('{"images": [')
    with pytest.raises(ValueError, match='JSONDecodeError'):
        INaturalist(str(tmp_path), 2018, num_classes=3)
    (tmp_path / 'train2018.json').write_text(json.dumps(content))
    (tmp_path / 'a/1.jpg').unlink()
    with pytest.raises(FileNotFoundError, match='1 of the 2 images(?s:.*)image 1: a/1.jpg'):
        INaturalist(str(tmp_path), 2018, num_classes=3)
    with pytest.raises(ValueError, match='the years are'):
        INaturalist(str(tmp_path), 2021)


# -------------------------------------------------------------------------------------------------------- Places


@pytest.mark.parametrize(
    'folder, val_folder', [('data_256_standard', 'val_256'), ('data_256', 'val_256'), ('data_large', 'val_large')]
)
def test_places365_as_published(tmp_path, folder, val_folder):
    fill(
        tmp_path,
        f'{folder}/a/airfield/00000001.jpg',
        f'{folder}/z/zen_garden/00000007.jpg',
        f'{val_folder}/Places365_val_00000001.jpg',
    )
    (tmp_path / 'places365_train_standard.txt').write_text(
        '/a/airfield/00000001.jpg 0\n/z/zen_garden/00000007.jpg 364\n'
    )
    (tmp_path / 'places365_val.txt').write_text('Places365_val_00000001.jpg 165\n')
    train, val = (Places(str(tmp_path), 365, split) for split in ('train', 'val'))
    assert train.get_labels().tolist() == [0, 364] and val.get_labels().tolist() == [165]
    assert train.get_data_info(1)['img_path'] == str(tmp_path / folder / 'z/zen_garden/00000007.jpg')
    assert val.get_data_info(0)['img_path'] == str(tmp_path / val_folder / 'Places365_val_00000001.jpg')


@pytest.mark.parametrize('images', ['data/vision/torralba/deeplearning/images256', 'images256'])
@pytest.mark.parametrize('lists', ['trainvalsplit_places205', '.'])
def test_places205_as_published(tmp_path, images, lists):
    fill(tmp_path / images, 'a/abbey/gsun_1.jpg', 'w/wheat_field/gsun_2.jpg')
    (tmp_path / lists).mkdir(exist_ok=True)
    (tmp_path / lists / 'train_places205.csv').write_text('w/wheat_field/gsun_2.jpg 203\na/abbey/gsun_1.jpg 0\n')
    (tmp_path / lists / 'val_places205.csv').write_text('a/abbey/gsun_1.jpg 0\n')
    train = Places(str(tmp_path), 205)
    assert train.get_labels().tolist() == [203, 0] and len(Places(str(tmp_path), 205, 'val')) == 1
    assert train.get_data_info(1)['img_path'] == str(tmp_path / images / 'a/abbey/gsun_1.jpg')


def test_places_in_class_folders(tmp_path):
    fill(tmp_path, 'train/airfield/1.jpg', 'train/zoo/1.jpg', 'val/airfield/2.jpg', 'val/zoo/2.jpg', 'val/zoo/3.jpg')
    assert Places(str(tmp_path)).get_labels().tolist() == [0, 1]
    assert Places(str(tmp_path), split='val').get_labels().tolist() == [0, 1, 1]


def test_another_layout_than_that_of_places(tmp_path):
    with pytest.raises(FileNotFoundError, match='not Places365.*places365_val.txt and val_256 or val_large.*class'):
        Places(str(tmp_path), split='val')
    (tmp_path / 'places365_val.txt').write_text('1.jpg 365\n')
    with pytest.raises(FileNotFoundError, match='there is no val_256 or val_large'):
        Places(str(tmp_path), split='val')
    fill(tmp_path, 'val_256/1.jpg')
    with pytest.raises(ValueError, match="line 1: '1.jpg 365' is not a path and a label below 365"):
        Places(str(tmp_path), split='val')
    (tmp_path / 'places365_val.txt').write_text('1.jpg 4\n2.jpg 4\n')
    with pytest.raises(FileNotFoundError, match='1 of the 2 images(?s:.*)line 2: 2.jpg'):
        Places(str(tmp_path), split='val')
    with pytest.raises(ValueError, match='the versions are'):
        Places(str(tmp_path), 401)
