"""CIFAR-10 and CIFAR-100 in the files that their authors publish."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmmim.apis.folder_split import FolderSplit
from mmmim.datasets import CIFAR10, CIFAR100, ImageFolder, LoadImage, PackImage
from mmmim.datasets.inputs import all_images, read_data

EACH = 4  # images of a batch


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))


def batches(classes):
    """Name of each batch to ``(pixels [N, 3072], labels)``: red is the place, green 100, blue the label."""
    names = {10: [*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch'], 100: ['train', 'test']}[classes]
    found = {}
    for number, name in enumerate(names):
        labels = [(7 * number + i) % classes for i in range(EACH)]
        rows = [np.repeat([EACH * number + i, 100, label], 1024) for i, label in enumerate(labels)]
        found[name] = np.asarray(rows, np.uint8), labels
    return found


def python_files(classes, protocol=2):
    """As cifar-10-python.tar.gz has them: dictionaries with keys of bytes."""
    key = b'labels' if classes == 10 else b'fine_labels'
    files = {}
    for name, (pixels, labels) in batches(classes).items():
        files[name] = {b'data': pixels, key: labels, b'filenames': [f'{name}_{i}.png'.encode() for i in range(EACH)]}
    names = [f'class {i}'.encode() for i in range(classes)]
    files['batches.meta' if classes == 10 else 'meta'] = {
        b'label_names' if classes == 10 else b'fine_label_names': names
    }
    return {name: pickle.dumps(values, protocol=protocol) for name, values in files.items()}


def binary_files(classes):
    files = {}
    for name, (pixels, labels) in batches(classes).items():
        heads = [[label] if classes == 10 else [label % 20, label] for label in labels]
        files[f'{name}.bin'] = np.concatenate([np.asarray(heads, np.uint8), pixels], 1).tobytes()
    names = '\n'.join(f'class_{i}' for i in range(classes)) + '\n'
    files['batches.meta.txt' if classes == 10 else 'fine_label_names.txt'] = names.encode()
    return files


FOLDERS = {(10, True): 'cifar-10-batches-py', (10, False): 'cifar-10-batches-bin'}
FOLDERS |= {(100, True): 'cifar-100-python', (100, False): 'cifar-100-binary'}


def make(root, classes, for_python, kind):
    files = python_files(classes) if for_python else binary_files(classes)
    folder = FOLDERS[classes, for_python]
    root.mkdir(exist_ok=True)
    if kind in ('archive', 'folder with archive'):
        archive = root / f'cifar-{classes}-{"python" if for_python else "binary"}.tar.gz'
        with tarfile.open(archive, 'w:gz') as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(f'{folder}/{name}')
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return archive if kind == 'archive' else root
    (root / folder).mkdir()
    for name, content in files.items():
        (root / folder / name).write_bytes(content)
    return root / folder if kind == 'folder' else root


@pytest.mark.parametrize('kind', ['archive', 'folder with archive', 'folder', "torchvision's"])
@pytest.mark.parametrize('for_python', [True, False], ids=['python', 'binary'])
@pytest.mark.parametrize('data_set', [CIFAR10, CIFAR100])
def test_every_official_source_gives_the_same(tmp_path, data_set, for_python, kind):
    classes = data_set.CLASSES
    source = make(tmp_path / 'data', classes, for_python, kind)
    for _ in range(2):  # from the files, then from what was prepared
        train, val = (
            data_set(str(source), split=split, pipeline=[LoadImage(), PackImage()]) for split in ('train', 'val')
        )
        assert len(val) == EACH and len(train) == EACH * (5 if classes == 10 else 1)
        assert len(train.metainfo['classes']) == classes and train.metainfo['classes'][3] in ('class 3', 'class_3')
        start = len(train)
        for place in (0, 2):
            image = val.get_data_info(place)
            assert (image['img'] == [start + place, 100, image['gt_label']]).all() and image['img'].shape == (32, 32, 3)
        assert train.get_labels().tolist() == [int(train[i]['inputs'][2, 0, 0]) for i in range(len(train))]


def test_pickles_of_today_and_nothing_that_runs(tmp_path):
    source = make(tmp_path / 'data', 10, True, 'folder')
    for name, content in python_files(10, protocol=5).items():
        (source / name).write_bytes(content)
    assert len(CIFAR10(str(source))) == 20
    (source / 'data_batch_3').write_bytes(pickle.dumps(Path('x')))
    with pytest.raises(ValueError, match='which no batch of CIFAR needs'):
        CIFAR10(str(source))


@pytest.mark.parametrize(
    'change, error, message',
    [
        (lambda folder: (folder / 'data_batch_4').unlink(), FileNotFoundError, 'lacks data_batch_4'),
        (lambda folder: (folder / 'batches.meta').unlink(), FileNotFoundError, 'lacks batches.meta'),
        (lambda folder: (folder / 'test_batch').write_bytes(b'\x80\x02}'), ValueError, 'is damaged'),
        (lambda folder: (folder / 'test_batch').write_bytes(b'x' * 100), ValueError, 'is damaged'),
    ],
)
def test_what_is_missing_or_damaged_is_said(tmp_path, change, error, message):
    source = make(tmp_path / 'data', 10, True, 'folder')
    change(source)
    with pytest.raises(error, match=message):
        CIFAR10(str(source))


def test_a_cut_archive_and_the_other_data_set(tmp_path):
    source = make(tmp_path / 'data', 10, True, 'archive')
    with pytest.raises(FileNotFoundError, match="is CIFAR-10: use type='CIFAR10'"):
        CIFAR100(str(source.parent))
    source.write_bytes(source.read_bytes()[:-400])
    with pytest.raises(ValueError, match='is damaged'):
        CIFAR10(str(source))


@pytest.mark.parametrize('kind', ['archive', "torchvision's"])
def test_pretrain_takes_the_official_files(tmp_path, kind):
    source = make(tmp_path / 'data', 10, True, kind)
    split = FolderSplit(str(source))
    assert [len(files) for files in split.files] == [20, 4] and 'used as they are' in split.note
    assert split.classes == [f'class {i}' for i in range(10)]
    dataset = ImageFolder(split.roots[0], ann_file=split.write_lists(str(tmp_path / 'out'))[0])
    for i in range(20):
        info = dataset.get_data_info(i)
        assert (LoadImage().transform(dict(info, seed=0))['source'].read()[..., 2] == info['gt_label']).all()
    assert FolderSplit(str(source)).digest() == split.digest()
    make(tmp_path / 'data', 100, True, "torchvision's")
    with pytest.raises(ValueError, match='holds CIFAR-10 and CIFAR-100'):
        read_data(str(tmp_path / 'data'))


def test_images_beside_the_official_files_and_all_images_of_them(tmp_path):
    source = make(tmp_path / 'data', 10, True, "torchvision's")
    for folder in (source, source / 'cifar-10-batches-py'):
        assert len(all_images(str(folder))[1]) == 24
    (source / 'photos').mkdir()
    Image.new('RGB', (8, 8)).save(source / 'photos/1.png')
    Image.new('RGB', (8, 8)).save(source / 'cifar-10-batches-py/overview.png')
    said = 'data/: not used, beside other images: cifar-10-batches-py; to use it, give it as data'
    found = read_data(str(source))
    assert 'photos/1.png' in found.train.names and found.said[-1] == said
    assert all_images(str(source))[2][-1] == said
    assert len(all_images(str(source / 'cifar-10-batches-py'))[1]) == 24
