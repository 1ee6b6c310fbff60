"""Masks beside images are not trained on as photographs."""

import tarfile

import numpy as np
import pytest
from PIL import Image

from mmmim.apis.folder_split import FolderSplit
from mmmim.datasets.folder_roles import part_of

PHOTO = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
MASK = np.zeros((40, 40), np.uint8)
MASK[10:25] = 1
COLOURED = np.repeat(MASK[..., None] * 200, 3, 2)


def coloured_palette(pixels):
    image = Image.fromarray(pixels, 'P')
    image.putpalette([0, 0, 0, 200, 0, 0])
    return image


def write(root, pattern, pixels, count=10):
    for i in range(count):
        path = root / pattern.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
        image.save(path)


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


@pytest.mark.parametrize('photo, other', [('photo/{}.png', 'sketch/{}.png'), ('normal/{}.png', 'blank/{}.png')])
@pytest.mark.parametrize(
    'pixels',
    [
        MASK * 255,  # a drawing in black on white
        np.where(MASK, 17 * (np.arange(40) // 10 % 16), 255).astype(np.uint8),  # in shades of grey
        np.zeros_like(MASK),
        (np.random.default_rng(0).random((40, 40)) < 0.05).astype(np.uint8),  # specks
        np.pad(MASK, 20),  # of another size
    ],
)
def test_classes_of_plain_images_are_kept(tmp_path, photo, other, pixels):
    write(tmp_path, photo, PHOTO[..., 0])
    write(tmp_path, other, pixels)
    split = FolderSplit(str(tmp_path))
    assert len(split.classes) == 2 and sum(map(len, split.files)) == 20


@pytest.mark.parametrize('ending', ['png', 'jpg'])
def test_scans_in_a_folder_of_labels_are_kept(tmp_path, ending):
    write(tmp_path, 'photos/{}.jpg', PHOTO)
    write(tmp_path, f'labels/{{}}.{ending}', np.kron(np.pad(MASK * 255, 20), np.ones((2, 2), np.uint8)))
    assert sum(map(len, FolderSplit(str(tmp_path)).files)) == 20


def test_what_was_found_by_pixels_alone_is_a_warning_with_the_way_out(tmp_path):
    write(tmp_path, 'a/{}.jpg', PHOTO)
    write(tmp_path, 'b/{}.png', coloured_palette(MASK))
    split = FolderSplit(str(tmp_path))
    assert sum(map(len, split.files)) == 10
    assert any('WARNING: left out, as masks: b/ (10 files)' in line and 'a list of all' in line for line in split.said)
    names = [f'{name}/{i}.{ending}' for name, ending in (('a', 'jpg'), ('b', 'png')) for i in range(10)]
    (tmp_path / 'list.txt').write_text('\n'.join(names))
    assert sum(map(len, FolderSplit(str(tmp_path / 'list.txt')).files)) == 20


def test_masks_in_a_tar_are_judged_by_what_is_in_them(tmp_path):
    folder = tmp_path / 'folder'
    for name in ('photo', 'mask', 'other'):
        write(folder, f'{name}/{{}}.png', PHOTO)
    with tarfile.open(tmp_path / 'classes.tar', 'w') as tar:
        tar.add(folder, '.')
    assert FolderSplit(str(tmp_path / 'classes.tar')).classes == ['mask', 'other', 'photo']
    write(tmp_path / 'beside', '{}.jpg', PHOTO)
    write(tmp_path / 'beside', '{}.png', MASK)
    with tarfile.open(tmp_path / 'beside.tar', 'w') as tar:
        tar.add(tmp_path / 'beside', '.')
    assert sum(map(len, FolderSplit(str(tmp_path / 'beside.tar')).files)) == 10


def test_digits_as_grey_images_are_no_masks(tmp_path):
    for name in ('0', '1', '2'):
        write(tmp_path, f'{name}/{{}}.png', MASK * 255)
    assert FolderSplit(str(tmp_path)).classes == ['0', '1', '2']


@pytest.mark.parametrize('name', ['cat', 'trains', 'contest', 'valley', 'test_drive', 'train_test', 'evaluate', ''])
def test_other_names_are_no_parts(name):
    assert part_of(name) is None
