"""What a folder of images is taken to be."""

import os

import pytest
from PIL import Image

from mmmim.apis.folder_split import FolderSplit


def _fill(folder, count, prefix=''):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new('RGB', (8, 8), (i, 0, 0)).save(folder / f'{prefix}{i}.png')


def test_flat_folder_has_a_fifth_held_out_and_no_labels(tmp_path):
    _fill(tmp_path, 50)
    split = FolderSplit(str(tmp_path))
    assert [len(files) for files in split.files] == [40, 10] and not split.labelled and split.classes == []
    assert sorted(split.files[0] + split.files[1]) == sorted(f'{i}.png' for i in range(50))
    assert FolderSplit(str(tmp_path)).files == split.files


def test_class_folders_give_labels_to_both_parts(tmp_path):
    for name in 'cat', 'dog', 'owl':
        _fill(tmp_path / name, 10)
    split = FolderSplit(str(tmp_path))
    assert split.classes == ['cat', 'dog', 'owl'] and [len(labels) for labels in split.labels] == [24, 6]
    for files, labels in zip(split.files, split.labels):
        assert all(split.classes[label] == file.split('/')[0] for file, label in zip(files, labels))


def test_an_image_beside_class_folders_means_no_labels(tmp_path):
    for name in 'cat', 'dog':
        _fill(tmp_path / name, 10)
    _fill(tmp_path, 1)
    assert not FolderSplit(str(tmp_path)).labelled


@pytest.mark.parametrize('held_out', ['val', 'valid', 'validation', 'test'])
def test_train_and_held_out_folders_are_used_as_they_are(tmp_path, held_out):
    for part, count in (('train', 7), (held_out, 3)):
        for name in 'cat', 'dog':
            _fill(tmp_path / part / name, count)
    split = FolderSplit(str(tmp_path))
    assert [os.path.basename(root) for root in split.roots] == ['train', held_out]
    assert [len(files) for files in split.files] == [14, 6] and split.labelled


def test_other_classes_in_train_and_val_mean_no_labels(tmp_path):
    for part, names in (('train', ('cat', 'dog')), ('val', ('cat', 'owl'))):
        for name in names:
            _fill(tmp_path / part / name, 3)
    assert not FolderSplit(str(tmp_path)).labelled


def test_train_alone_is_split(tmp_path):
    for name in 'cat', 'dog':
        _fill(tmp_path / 'train' / name, 10)
    split = FolderSplit(str(tmp_path))
    assert split.roots == [str(tmp_path / 'train')] * 2 and [len(files) for files in split.files] == [16, 4]


def test_very_few_images_serve_twice_without_labels(tmp_path):
    for name in 'cat', 'dog':
        _fill(tmp_path / name, 2)
    split = FolderSplit(str(tmp_path))
    assert [len(files) for files in split.files] == [4, 4] and not split.labelled
    assert 'nothing is held out' in split.note


def test_many_held_out_images_are_drawn_from(tmp_path):
    _fill(tmp_path / 'train', 5)
    _fill(tmp_path / 'val', 30)
    split = FolderSplit(str(tmp_path), most_held_out=10)
    assert len(split.files[1]) == 10 and 'of 30 held-out images 10' in split.note


def test_lists_are_written_once_and_hold_names_with_spaces(tmp_path):
    for name in 'a cat', 'a dog':
        _fill(tmp_path / 'photos' / name, 5, prefix='my photo ')
    split = FolderSplit(str(tmp_path / 'photos'))
    paths = split.write_lists(str(tmp_path / 'out'))
    stamps = [os.stat(path).st_mtime_ns for path in paths]
    first = open(paths[0]).read().splitlines()[0]
    assert first == f'{split.files[0][0]} {split.labels[0][0]}'
    assert split.write_lists(str(tmp_path / 'out')) == paths
    assert [os.stat(path).st_mtime_ns for path in paths] == stamps


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda path: None, 'does not exist'),
        (lambda path: path.write_text(''), 'is a file'),
        (lambda path: path.mkdir(), 'no images under'),
    ],
    ids=['absent', 'file', 'empty'],
)
def test_what_is_no_folder_of_images_is_said(tmp_path, make, message):
    make(tmp_path / 'photos')
    with pytest.raises(FileNotFoundError, match=message):
        FolderSplit(str(tmp_path / 'photos'))
