"""Masks beside images are not trained on as photographs."""

import numpy as np
import pytest
from PIL import Image

from mmmim.apis.folder_split import FolderSplit
from mmmim.datasets.folder_roles import part_of

PHOTO = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
MASK = np.zeros((40, 40), np.uint8)
MASK[10:25] = 1
COLOURED = np.repeat(MASK[..., None] * 200, 3, 2)


def write(root, pattern, pixels, count=10):
    for i in range(count):
        path = root / pattern.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    'image, mask, pixels',
    [
        ('images/{}.jpg', 'annotations/{}.png', MASK),
        ('images/{}.jpg', 'masks/{}.png', MASK),
        ('img/{}.png', 'labels/{}.png', COLOURED),
        ('JPEGImages/{}.jpg', 'SegmentationClass/{}.png', MASK),
        ('leftImg8bit/aachen/{}_leftImg8bit.png', 'gtFine/aachen/{}_gtFine_labelIds.png', MASK),
        ('data/images/{}.jpg', 'data/ground_truth/{}_gt.png', MASK),
        ('benign ({}).png', 'benign ({})_mask.png', MASK),
        ('a/{}.png', 'a/{}_L.png', COLOURED),
        ('frames_of_a_film/{}.jpg', 'ids/{}.png', MASK),
        ('{}.jpg', '{}.png', MASK),
    ],
)
def test_masks_are_left_out_and_named(tmp_path, image, mask, pixels):
    write(tmp_path, image, PHOTO)
    write(tmp_path, mask, pixels)
    split = FolderSplit(str(tmp_path))
    ending = image.rpartition('}')[2]
    assert [len(files) for files in split.files] == [8, 2] and not split.labelled
    assert all(file.endswith(ending) for files in split.files for file in files)
    assert any('left out, as masks' in line and '(10 files)' in line for line in split.said)


@pytest.mark.parametrize('image, mask', [('{}/images', '{}/masks'), ('images/{}', 'annotations/{}')])
def test_masks_beside_both_parts_of_a_split(tmp_path, image, mask):
    for part in ('train', 'val'):
        write(tmp_path, f'{image.format(part)}/{{}}.jpg', PHOTO)
        write(tmp_path, f'{mask.format(part)}/{{}}.png', MASK)
    split = FolderSplit(str(tmp_path))
    assert [len(files) for files in split.files] == [10, 10] and 'used as they are' in split.note


def test_images_below_masked_classes_keep_their_classes(tmp_path):
    for name in ('cat', 'dog'):
        write(tmp_path, f'images/{name}/{{}}.jpg', PHOTO)
        write(tmp_path, f'masks/{name}/{{}}.png', MASK)
    split = FolderSplit(str(tmp_path))
    assert split.classes == ['cat', 'dog'] and sum(map(len, split.files)) == 20


@pytest.mark.parametrize(
    'image, other',
    [
        ('no mask/{}.jpg', 'mask/{}.jpg'),  # classes of another task
        ('images/{}.jpg', 'labels/x{}.jpg'),  # photographs of labels
        ('3/{}.png', '5/{}.png'),
        ('a/{}.jpg', 'b/{}_gt.jpg'),
    ],
)
def test_photographs_are_kept_whatever_their_names(tmp_path, image, other):
    write(tmp_path, image, PHOTO)
    write(tmp_path, other, PHOTO)
    split = FolderSplit(str(tmp_path))
    assert sum(map(len, split.files)) == 20 and len(split.classes) == 2


def test_digits_as_grey_images_are_no_masks(tmp_path):
    for name in ('0', '1', '2'):
        write(tmp_path, f'{name}/{{}}.png', MASK * 255)
    assert FolderSplit(str(tmp_path)).classes == ['0', '1', '2']


@pytest.mark.parametrize('name', ['cat', 'trains', 'contest', 'valley', 'test_drive', 'train_test', 'evaluate', ''])
def test_other_names_are_no_parts(name):
    assert part_of(name) is None
