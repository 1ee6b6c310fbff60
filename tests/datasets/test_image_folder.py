"""Labels, replacement of bad images, and the errors a user meets."""

import os
import pickle

import numpy as np
import pytest
from harness import DATA
from PIL import Image

from mmmim.datasets import ImageFolder, ImageReadError, LoadImage, PackImage, Resize, SampleIndex
from mmmim.randomness import REPLACE, derive

PIPELINE = [LoadImage(), Resize(4), PackImage()]


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp('cache')
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder))


def fill(root, *names):
    """Images whose first channel is their place in ``names``."""
    for value, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (6, 5), (value, 0, 0)).save(root / name)


# -- labels ----------------------------------------


def test_class_folders(tmp_path):
    fill(tmp_path, 'dog/1.png', 'cat/deep/2.png', 'cat/3.png')
    dataset = ImageFolder(str(tmp_path), pipeline=PIPELINE)
    assert dataset.metainfo['classes'] == ('cat', 'dog')
    assert dataset.get_labels().tolist() == [0, 0, 1] and dataset.get_labels().dtype == np.int64
    assert dataset.get_data_info(2) == dict(img_path=str(tmp_path / 'dog/1.png'), gt_label=1, sample_idx=2)
    item = dataset[2]
    assert item['inputs'].shape == (3, 4, 4) and (item['inputs'][0] == 0).all() and item['data_samples'].gt_label == 1
    subset = ImageFolder(str(tmp_path), indices=[2, 0], pipeline=PIPELINE)
    assert subset.get_labels().tolist() == [1, 0] and len(subset) == 2
    assert dataset.get_subset([2]).get_labels().tolist() == [1]
    given = ImageFolder(str(tmp_path), metainfo=dict(classes=['dog', 'bird', 'cat']))
    assert given.get_labels().tolist() == [2, 2, 0]
    with pytest.raises(ValueError, match="does not have the folders \\['dog'\\]"):
        ImageFolder(str(tmp_path), metainfo=dict(classes=['cat']))


class Dogs(ImageFolder):
    """A subclass with lists of dictionaries, as MMEngine's data sets have them."""

    def load_data_list(self):
        return [dict(info, caption=f'no {place}') for place, info in enumerate(super().load_data_list())]

    def filter_data(self):
        return [info for info in self.data_list if info['gt_label'] == 1]


@pytest.mark.parametrize('serialize', [True, False])
@pytest.mark.parametrize('base', [Dogs, ImageFolder])
def test_subsets_and_subclasses_with_lists(base, serialize, tmp_path):
    fill(tmp_path, 'cat/0.png', 'dog/1.png', 'dog/2.png', 'dog/3.png')
    dataset = base(str(tmp_path), pipeline=PIPELINE, serialize_data=serialize)
    names = ['1.png', '2.png', '3.png'] if base is Dogs else ['0.png', '1.png', '2.png', '3.png']
    labels = [1, 1, 1] if base is Dogs else [0, 1, 1, 1]

    def check(found, places):
        assert len(found) == len(places) and found.get_labels().tolist() == [labels[place] for place in places]
        for index, place in enumerate(places):
            info = found.get_data_info(index)
            assert info['img_path'].endswith(names[place]) and info['gt_label'] == labels[place]
            assert info.get('caption') == (f'no {place + 1}' if base is Dogs else None)
            assert int(found[index]['inputs'][0, 0, 0]) == int(names[place][0])

    check(dataset, range(len(names)))
    assert hasattr(dataset, 'data_bytes') == (serialize and base is Dogs)  # a table needs no serialising
    check(dataset.get_subset([2, 0]), [2, 0])
    check(dataset.get_subset(2), [0, 1])
    check(pickle.loads(pickle.dumps(dataset)), range(len(names)))
    check(base(str(tmp_path), pipeline=PIPELINE, serialize_data=serialize, indices=[1]), [1])
    lazy = base(str(tmp_path), pipeline=PIPELINE, serialize_data=serialize, lazy_init=True)
    lazy.full_init()
    lazy.get_subset_([-1 + len(names)])
    check(lazy, [len(names) - 1])


@pytest.mark.parametrize('names', [('1.png', '2.png'), ('a/1.png', 'a/2.png'), ('a/1.png', 'b/2.png', '3.png')])
def test_folders_without_classes(tmp_path, names):
    fill(tmp_path, *names)
    dataset = ImageFolder(str(tmp_path), pipeline=PIPELINE)
    assert len(dataset) == len(names) and 'gt_label' not in dataset[0]['data_samples']
    with pytest.raises(ValueError, match='has no labels'):
        dataset.get_labels()
    if not all('/' in name for name in names):
        with pytest.raises(ValueError, match='lies directly in'):
            ImageFolder(str(tmp_path), with_label=True)
    else:
        assert ImageFolder(str(tmp_path), with_label=True).get_labels().tolist() == [0, 0]


def test_labels_can_be_left_out(tmp_path):
    fill(tmp_path, 'a/1.png', 'b/2.png')
    assert 'gt_label' not in ImageFolder(str(tmp_path), with_label=False).get_data_info(0)


def test_annotation_file(tmp_path):
    fill(tmp_path, 'my photo 7.png', 'b/2.png', 'c.png')
    (tmp_path / 'list.txt').write_text('my photo 7.png 3\n\nb/2.png 0\r\n', encoding='utf-8-sig')
    dataset = ImageFolder(str(tmp_path), ann_file='list.txt', pipeline=PIPELINE)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(2)]
    assert paths == [f'{tmp_path}/my photo 7.png', f'{tmp_path}/b/2.png']
    assert dataset.get_labels().tolist() == [3, 0]
    (tmp_path / 'plain.txt').write_text('c.png\nmy photo 7.png\n')
    plain = ImageFolder(str(tmp_path), ann_file=str(tmp_path / 'plain.txt'), pipeline=PIPELINE)
    assert plain[1]['data_samples'].img_path == f'{tmp_path}/my photo 7.png'
    assert 'gt_label' not in plain[1]['data_samples']
    (tmp_path / 'mixed.txt').write_text('c.png 1\nb/2.png\n')
    with pytest.raises(ValueError, match="line 2: 'b/2.png' has no label"):
        ImageFolder(str(tmp_path), ann_file='mixed.txt')
    assert len(ImageFolder(str(tmp_path), ann_file='mixed.txt', with_label=False)) == 2


@pytest.mark.parametrize('cache_from', [1, 10_000])
def test_annotation_file_with_missing_images(tmp_path, cache_from):
    fill(tmp_path, 'a.png')
    (tmp_path / 'list.txt').write_text('a.png\n' + ''.join(f'no/{i}.png\n' for i in range(8)))
    with pytest.raises(FileNotFoundError, match='(?s)8 of the 9 images.*line 2: no/0.png') as caught:
        ImageFolder(str(tmp_path), ann_file='list.txt', cache_from=cache_from)
    assert 'no/4.png' in str(caught.value) and 'no/5.png' not in str(caught.value)


def test_a_long_annotation_file_does_not_list_what_it_does_not_name(tmp_path, monkeypatch):
    fill(tmp_path, 'data/1.png', 'data/2.png', 'elsewhere/deep/3.png')
    (tmp_path / 'list.txt').write_text('data/1.png\ndata/2.png')
    read = []
    scandir = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: read.append(str(path)) or scandir(path))
    dataset = ImageFolder(str(tmp_path), ann_file=str(tmp_path / 'list.txt'), cache_from=2)
    assert len(dataset) == 2 and read == [str(tmp_path / 'data')]


# -- errors before training ----------------------------------------


def test_missing_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.*data_root'):
        ImageFolder(str(tmp_path / 'nowhere'), lazy_init=True)
    with pytest.raises(FileNotFoundError, match='data_root'):
        ImageFolder('')
    fill(tmp_path, 'a.png')
    with pytest.raises(NotADirectoryError, match='is a file'):
        ImageFolder(str(tmp_path / 'a.png'))
    with pytest.raises(FileNotFoundError, match='ann_file'):
        ImageFolder(str(tmp_path), ann_file='no.txt')
    with pytest.raises(ValueError, match='with_label'):
        ImageFolder(str(tmp_path), with_label='yes')


def test_folder_without_images(tmp_path):
    with pytest.raises(ValueError, match='no files at all'):
        ImageFolder(str(tmp_path))
    for name in ('a.heic', 'b.HEIC', 'c.txt', '.hidden.png', 'README'):
        (tmp_path / name).write_text('')
    with pytest.raises(ValueError) as caught:
        ImageFolder(str(tmp_path))
    for part in (str(tmp_path), '2 x .heic', '1 x .txt', '1 x no extension', 'jpg, jpeg'):
        assert part in str(caught.value)
    assert 'x .png' not in str(caught.value)


# -- replacement of bad images ----------------------------------------


def with_bad_images(root, bad, total=30):
    fill(root, *(f'{i:02d}.png' for i in range(total)))
    for i in bad:
        (root / f'{i:02d}.png').write_bytes(b'')
    return ImageFolder(str(root), pipeline=PIPELINE)


def test_a_bad_image_is_replaced_by_its_seed_alone(tmp_path):
    bad = {3, 4, 5}
    dataset = with_bad_images(tmp_path, bad)
    stands_in = set()
    for seed in range(40):
        item = dataset[SampleIndex(4, seed)]
        expected, missed = 4, []
        for attempt in range(20):
            if expected not in bad:
                break
            missed.append((f'{tmp_path}/{expected:02d}.png', 'the file is empty'))
            expected = derive(seed, REPLACE, attempt) % 30
        sample = item['data_samples']
        assert (item['inputs'][0] == expected).all() and sample.img_path == f'{tmp_path}/{expected:02d}.png'
        assert sample.sample_idx == 4 and sample.seed == seed and sample.replaced == missed
        stands_in.add(expected)
    assert len(stands_in) > 10
    again = ImageFolder(str(tmp_path), pipeline=PIPELINE)[SampleIndex(4, 39)]  # nothing read before
    assert again['data_samples'].img_path == sample.img_path


def test_an_index_without_a_seed(tmp_path):
    dataset = with_bad_images(tmp_path, {0})
    assert dataset[7]['data_samples'].seed == derive(0, 0, 7) and dataset[7]['data_samples'].replaced == []
    assert dataset[-1]['data_samples'].sample_idx == 29
    first = dataset[0]['data_samples']
    assert first.img_path == f'{tmp_path}/{derive(derive(0, 0, 0), REPLACE, 0) % 30:02d}.png'
    assert len(first.replaced) == 1
    for index in (30, -31):
        with pytest.raises(IndexError, match='30 images'):
            dataset[index]


def test_nothing_readable_ends_in_an_error(tmp_path):
    dataset = with_bad_images(tmp_path, range(30))
    with pytest.raises(RuntimeError, match='none of 20 images could be read(?s:.*)04.png: the file is empty') as caught:
        dataset[4]
    assert not isinstance(caught.value, ImageReadError)


def test_other_errors_are_not_hidden(tmp_path):
    fill(tmp_path, 'a.png')
    dataset = ImageFolder(str(tmp_path), pipeline=[LoadImage(), lambda results: 1 / 0])
    with pytest.raises(ZeroDivisionError):
        dataset[0]


def test_photographs_with_classes():
    root = DATA / 'clothing/val'
    if not root.is_dir():
        pytest.skip(f'needs the photographs of clothing/ under {DATA} (MMMIM_DATA)')
    dataset = ImageFolder(str(root), pipeline=[LoadImage(), Resize(16), PackImage()])
    assert len(dataset) == 341 and len(dataset.metainfo['classes']) == 10
    assert np.bincount(dataset.get_labels()).min() > 0
    assert dataset[100]['inputs'].float().std() > 5 and dataset[100]['data_samples'].replaced == []


@pytest.mark.parametrize('names, odd', [('train val', True), ('images masks', True), ('cat dog', False)])
def test_folders_that_are_named_like_parts_of_a_data_set_are_told(tmp_path, names, odd, monkeypatch):
    fill(tmp_path, *(f'{name}/{i}.png' for name in names.split() for i in range(2)))
    said = []
    monkeypatch.setattr('mmmim.datasets.image_folder.print_log', lambda text, **options: said.append(text))
    assert len(ImageFolder(str(tmp_path))) == 4
    assert len(said) == odd and all(names.replace(' ', ', ') in text for text in said)
