"""Which mask belongs to which image, in each layout; and what the values of masks stand for."""

import json

import numpy as np
import pytest
from PIL import Image

from mmmim.datasets.mask_folder import MaskFolder, pair_lines, read_pairs
from mmmim.datasets.mask_pairs import class_names, classes_of, find_pairs

RNG = np.random.default_rng(0)
INDICES = np.kron(np.array([[0, 1], [2, 1]]), np.ones((16, 16))).astype(np.uint8)


def draw(root, *files):
    """Photographs, and masks for what is named like one."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        masks = ('mask', 'annot', 'Class', 'Object', 'gt', 'label')
        pixels = INDICES if any(word in file for word in masks) else RNG.integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(path)


LAYOUTS = {
    'parts below': ('images/training/{}.jpg', 'annotations/training/{}.png', 'train'),
    'parts above': ('train/images/{}.jpg', 'train/masks/{}.png', 'train'),
    'no parts': ('images/{}.jpg', 'masks/{}.png', None),
    'names with endings': ('images/{}.jpg', 'masks/{}_mask.png', None),
    'beside': ('{}.jpg', '{}_mask.png', None),
    'beside, png': ('val/{}.png', 'val/{}_mask.png', 'validation'),
    'Pascal VOC': ('JPEGImages/{}.jpg', 'SegmentationClass/{}.png', None),
    'Cityscapes': ('leftImg8bit/train/x/{}_leftImg8bit.png', 'gtFine/train/x/{}_gtFine_labelIds.png', 'train'),
    'CamVid': ('train/{}.png', 'trainannot/{}.png', 'train'),
}


@pytest.mark.parametrize('image, mask, part', LAYOUTS.values(), ids=LAYOUTS)
def test_each_image_gets_its_mask(image, mask, part, tmp_path):
    names = ['0a', '1b', '2c']
    draw(tmp_path, *(kind.format(name) for name in names for kind in (image, mask)))
    found = find_pairs(str(tmp_path))
    assert found.pairs == [(image.format(name), mask.format(name), part) for name in names] and not found.said
    path = tmp_path / 'list.txt'
    path.write_text(pair_lines([(pair.image, pair.mask) for pair in found.pairs]))
    dataset = MaskFolder(str(tmp_path), dict(img_path='nowhere'), '012', ann_file='list.txt', pipeline=[])
    assert [dataset.get_data_info(i)['seg_map_path'] for i in range(3)] == [
        str(tmp_path / mask.format(name)) for name in names
    ]


def test_pascal_vocs_lists_are_the_parts(tmp_path):
    draw(
        tmp_path, *(f'{kind}' for name in 'abc' for kind in (f'JPEGImages/{name}.jpg', f'SegmentationClass/{name}.png'))
    )
    lists = tmp_path / 'ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('a\nb\n')
    (lists / 'val.txt').write_text('c\n')
    assert [pair.part for pair in find_pairs(str(tmp_path)).pairs] == ['train', 'train', 'validation']


def test_class_numbers_come_before_numbers_of_objects(tmp_path):
    draw(tmp_path, 'JPEGImages/a.jpg', 'SegmentationObject/a.png', 'SegmentationClass/a.png')
    assert find_pairs(str(tmp_path)).pairs[0].mask == 'SegmentationClass/a.png'
    draw(
        tmp_path / 'x',
        'leftImg8bit/a_leftImg8bit.png',
        *(f'gtFine/a_gtFine_{k}.png' for k in ('color', 'labelTrainIds', 'labelIds')),
    )
    assert find_pairs(str(tmp_path / 'x')).pairs[0].mask == 'gtFine/a_gtFine_labelTrainIds.png'


def test_masks_in_a_folder_elsewhere(tmp_path):
    draw(tmp_path, 'photos/a.jpg', 'photos/b.jpg', 'drawn/gt/a.png', 'drawn/gt/c.png')
    found = find_pairs(str(tmp_path / 'photos'), str(tmp_path / 'drawn/gt'))
    assert found.pairs == [('photos/a.jpg', 'drawn/gt/a.png', None)] and found.root == str(tmp_path)
    assert [sentence.partition(' are')[0] for sentence in found.said] == [
        '1 images without a mask', '1 masks without an image'
    ]  # fmt: skip


def test_folders_above_the_images_tell_no_part(tmp_path):
    draw(tmp_path, 'test/images/a.jpg', 'test/images/val/b.jpg', 'labels/a.png', 'labels/val/b.png')
    found = find_pairs(str(tmp_path / 'test/images'), str(tmp_path / 'labels'))
    assert {pair.image: pair.part for pair in found.pairs} == {
        'test/images/a.jpg': None, 'test/images/val/b.jpg': 'validation'
    }  # fmt: skip


@pytest.mark.parametrize(
    'files, words',
    [
        (['images/a.jpg', 'images/b.jpg'], 'has no images with masks'),
        (['images/a.jpg', 'masks/a.jpg'], 'format that changes pixels'),
        (['a.jpg', 'a_mask.png', 'a_mask_2.png'], 'several masks'),
    ],
)
def test_what_cannot_be_paired(files, words, tmp_path):
    draw(tmp_path, *files)
    with pytest.raises(ValueError, match=words):
        find_pairs(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='no folder'):
        find_pairs(str(tmp_path / 'nowhere'))


def test_lists_of_pairs(tmp_path):
    path = tmp_path / 'list.txt'
    assert read_pairs(str(path)) == []
    path.write_text('a b.jpg\tc.png\n')
    assert read_pairs(str(path)) == [('a b.jpg', 'c.png')]
    path.write_text('a.jpg\tc.png\nb.jpg\n')
    with pytest.raises(ValueError, match='b.jpg'):
        read_pairs(str(path))
    with pytest.raises(ValueError, match='tab'):
        pair_lines([('a\t.jpg', 'a.png')])


@pytest.mark.parametrize(
    'values, names, expected',
    [
        ([0, 1, 2], None, (3, False, {})),
        ([0, 1, 2, 255], None, (3, False, {})),
        ([0, 255], None, (2, False, {255: 1})),
        ([1, 255], None, (2, False, {1: 0, 255: 1})),
        ([1, 2, 3], None, (3, True, {})),
        ([0, 38, 75, 255], None, (3, False, {38: 1, 75: 2})),
        ([0, 1, 2], ['sky', 'sea'], (2, True, {})),
        ([0, 1], ['sky', 'sea', 'sand'], (3, False, {})),
        ([0, 255], ['ground', 'thing'], (2, False, {255: 1})),
        ([5], None, (2, False, {5: 0})),
        ([255], None, (2, False, {})),
    ],
)
def test_what_values_stand_for(values, names, expected):
    found = classes_of(values, names, 'classes.txt')
    assert (len(found.names), found.reduce_zero_label, found.label_map) == expected
    assert names is None or found.names == names


@pytest.mark.parametrize(
    'name, text',
    [
        ('meta.json', json.dumps(dict(classes=['sky', 'sea'], palette=[]))),
        ('classes.json', json.dumps({'1': 'sea', '0': 'sky'})),
        ('classes.txt', 'sky\nsea\n'),
        ('_classes.csv', 'Pixel Value, Class\n0, sky\n1, sea\n'),
    ],
)
def test_names_of_classes(name, text, tmp_path):
    assert class_names(str(tmp_path)) is None
    (tmp_path / name).write_text(text)
    assert class_names(str(tmp_path)) == (str(tmp_path / name), ['sky', 'sea'])
    if name.endswith('json'):
        (tmp_path / name).write_text('{')
        with pytest.raises(ValueError, match=name):
            class_names(str(tmp_path))
