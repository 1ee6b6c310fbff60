"""Paths and labels in arrays read as the lists that they stand for."""

import copy
import pickle

import numpy as np
import pytest

from mmmim.datasets.io.file_list import FileTable, PathArray

PATHS = ['a b/1.png', 'a/2.png', 'a/deep/3.png', 'Über/4\n.png', 'no\udcfftext.png', 'z.png']


@pytest.mark.parametrize('paths', [PATHS, [], [''], ['one'], ['', 'b', '']])
def test_an_array_of_paths_reads_as_the_list(paths):
    array = PathArray(paths)
    assert list(array) == array.tolist() == paths and len(array) == len(paths)
    assert array[1:-1] == paths[1:-1] and array[::-2] == paths[::-2]
    assert [array[-1 - place] for place in range(len(paths))] == paths[::-1]
    assert list(PathArray(array.to_bytes())) == paths
    assert list(pickle.loads(pickle.dumps(array))) == list(copy.deepcopy(array)) == paths
    for place in (len(paths), -len(paths) - 1):
        with pytest.raises(IndexError):
            array[place]


def test_a_nul_is_no_part_of_a_path():
    with pytest.raises(ValueError, match='NUL'):
        PathArray(['a\0b'])


@pytest.mark.parametrize(
    'paths, expected',
    [
        (sorted(PATHS), [('a b', 1), ('a', 2), ('', 1), ('', 1), ('Über', 1)]),
        (['b.png', 'c.png'], [('', 2)]),
        (['a/1', 'b.png', 'c.png', 'd/2', 'd/3', 'd/e/4', 'f/5'], [('a', 1), ('', 1), ('', 1), ('d', 3), ('f', 1)]),
        ([], []),
    ],
)
def test_runs_of_top_folders(paths, expected):
    assert PathArray(paths).top_folders() == expected


def test_runs_of_top_folders_of_many_random_names():
    rng = np.random.default_rng(0)
    letters = ['a', 'b', '-', '.', ' ', '/', '0', 'é']
    paths = sorted({''.join(rng.choice(letters, rng.integers(1, 7))).strip('/') or 'x' for _ in range(3000)})
    folders = [name for name, count in PathArray(paths).top_folders() for _ in range(count)]
    assert folders == [path.partition('/')[0] if '/' in path else '' for path in paths]


@pytest.mark.parametrize('labels', [None, [3, 0, 2**40, 1, -1, 0]])
def test_a_table_reads_as_a_list_of_dictionaries(labels):
    infos = [
        dict(img_path=path) if labels is None else dict(img_path=path, gt_label=label)
        for path, label in zip(PATHS, labels or PATHS)
    ]
    table = FileTable(PATHS, labels)
    assert list(table) == infos and table[2:5] == infos[2:5] and table[-1] == infos[-1]
    assert all(labels is None or type(info['gt_label']) is int for info in table)
    again = FileTable.of(table[::2])
    assert list(again) == infos[::2]
    table[0]['img_path'] = 'changed'  # what is read is a copy
    assert table[0] == infos[0]
    assert len(FileTable.of([])) == 0


def test_a_table_needs_a_label_for_each_path():
    with pytest.raises(ValueError, match='6 paths cannot have 2 labels'):
        FileTable(PATHS, [0, 1])
