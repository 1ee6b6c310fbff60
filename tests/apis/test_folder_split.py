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


def _split_of(root, **parts):
    for part, names in parts.items():
        for name in names.split():
            _fill(root / part / name, 3)
    return FolderSplit(str(root))


def test_a_class_that_val_lacks_keeps_its_label_and_is_named(tmp_path):
    split = _split_of(tmp_path, train='cat dog owl', val='dog owl')
    assert split.classes == ['cat', 'dog', 'owl'] and sorted(set(split.labels[1])) == [1, 2]
    assert any('val/ has no images of cat' in line for line in split.said)


def test_a_class_that_only_val_has_is_left_out_and_named(tmp_path):
    split = _split_of(tmp_path, train='cat dog', val='cat owl')
    assert split.classes == ['cat', 'dog'] and split.files[1] == [f'cat/{i}.png' for i in range(3)]
    assert split.labels[1] == [0, 0, 0]
    assert any('3 images of val/ are left out' in line and 'owl' in line for line in split.said)


@pytest.mark.parametrize('theirs', ['a b', '.'])
def test_no_class_in_common_means_no_labels_and_a_word(tmp_path, theirs):
    split = _split_of(tmp_path, train='cat dog', val=theirs)
    assert (
        not split.labelled and split.classes == [] and any('no class folder in common' in line for line in split.said)
    )


@pytest.mark.parametrize(
    'train, held_out',
    [
        ('Training', 'Testing'),
        ('training', 'validation'),
        ('train2017', 'val2017'),
        ('Train', 'Valid'),
        ('train_images', 'test_images'),
        ('seg_train', 'seg_test'),
        ('trainset', 'dev'),
        ('TRAIN', 'Test-Set'),
    ],
)
def test_usual_names_of_splits(tmp_path, train, held_out):
    split = _split_of(tmp_path / 'photos', **{train: 'cat dog', held_out: 'cat dog'})
    assert [os.path.basename(root) for root in split.roots] == [train, held_out] and split.classes == ['cat', 'dog']
    assert 'classes: cat, dog (2 folders)' in split.said
    inside = FolderSplit(str(tmp_path))  # the archive was unpacked into a folder of its own
    assert inside.roots == split.roots


def test_the_rest_of_a_split_is_named(tmp_path):
    split = _split_of(tmp_path, train2017='cat dog', val2017='cat dog', test2017='x', unlabeled2017='.')
    assert [os.path.basename(root) for root in split.roots] == ['train2017', 'val2017']
    assert 'not used: test2017/, unlabeled2017/' in split.said


@pytest.mark.parametrize('names', ['test cat', 'val2017 test2017', 'train2014 train2017', 'dev eval'])
def test_what_looks_like_a_part_but_is_none_is_a_class_with_a_warning(tmp_path, names):
    for name in names.split():
        _fill(tmp_path / name, 10)
    split = FolderSplit(str(tmp_path))
    assert split.classes == sorted(names.split())
    odd = [name for name in split.classes if name != 'cat']
    assert any(line.startswith('WARNING') and all(name in line for name in odd) for line in split.said)


def test_files_that_are_no_images_are_counted_by_ending(tmp_path):
    _fill(tmp_path, 10)
    for name in ('a.heic', 'b.HEIC', 'notes.txt', 'LICENSE', 'Thumbs.db', '.DS_Store'):
        (tmp_path / name).write_text('')
    (line,) = FolderSplit(str(tmp_path)).said
    assert all(part in line for part in ('2 x .heic', '1 x .txt', '1 x no extension')) and 'db' not in line


def test_results_inside_are_left_out(tmp_path):
    _fill(tmp_path, 10)
    for mark in ('last_checkpoint', 'run.json'):
        _fill(tmp_path / mark[:4] / 'pictures', 3)
        (tmp_path / mark[:4] / mark).write_text('{"sessions": []}')
    _fill(tmp_path / 'jogging', 2)
    (tmp_path / 'jogging/run.json').write_text('{"kilometres": 5}')  # somebody's photos
    split = FolderSplit(str(tmp_path))
    assert sum(map(len, split.files)) == 12 and any('last/, run.' in line for line in split.said)


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
