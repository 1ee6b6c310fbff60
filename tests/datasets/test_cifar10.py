"""The same images from folders and archives, prepared once, made anew when the source changes."""

import io
import os
import pickle
import tarfile
import time

import numpy as np
import pytest
from harness import DATA
from PIL import Image

from mmmim.datasets import CIFAR10, LoadImage, PackImage, SampleIndex, cifar10

pytestmark = pytest.mark.runs


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp('cache')
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder))
    return folder


def encoded(value, form='PNG', side=32):
    content = io.BytesIO()
    Image.new('RGB', (side, side), (value, 0, 0)).save(content, form)
    return content.getvalue()


def files():
    """Name and content; the first channel is 10 * class + place in the class, and 100 more in val."""
    return {
        f'{split}/{name}/{i}.png': encoded(100 * (split == 'val') + 10 * label + i)
        for split in ('train', 'val')
        for label, name in enumerate(('cat', 'dog'))
        for i in range(3)
    }


def make_folder(root, contents):
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def make_archive(path, contents, prefix='', mode='w:xz'):
    with tarfile.open(path, mode) as archive:
        for name, content in reversed(contents.items()):
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def make(kind, tmp_path, contents):
    if kind == 'folders':
        return make_folder(tmp_path / 'cifar', contents)
    (tmp_path / 'cifar').mkdir()
    if kind == 'folder with archive':
        make_archive(tmp_path / 'cifar/a.tar.gz', contents, mode='w:gz')
        return tmp_path / 'cifar'
    return make_archive(tmp_path / 'cifar/a.tar', contents, prefix='./some/prefix/', mode='w')


@pytest.mark.parametrize('kind', ['folders', 'folder with archive', 'archive'])
def test_every_source_gives_the_same(tmp_path, kind):
    source = make(kind, tmp_path, files())
    for _ in range(2):  # from the source, then from what was prepared
        for split, base in (('train', 0), ('val', 100)):
            dataset = CIFAR10(str(source), split=split, pipeline=[LoadImage(), PackImage()])
            assert dataset.metainfo['classes'] == ('cat', 'dog')
            assert dataset.get_labels().tolist() == [0, 0, 0, 1, 1, 1] and dataset.get_labels().dtype == np.int64
            values = [int(dataset[i]['inputs'][0, 5, 5]) for i in range(6)]
            assert values == [base + value for value in (0, 1, 2, 10, 11, 12)]
            info = dataset.get_data_info(4)
            assert info['img'].shape == (32, 32, 3) and info['img'].dtype == np.uint8 and 'row' not in info
            assert info['img_path'].endswith(f'{split}/dog/1.png') and info['gt_label'] == 1
            assert ('::' in info['img_path']) == (kind != 'folders')
            sample = dataset[SampleIndex(4, 77)]['data_samples']
            assert (sample.sample_idx, sample.seed, sample.gt_label, sample.replaced) == (4, 77, 1, [])


def test_prepared_once_beside_the_source(tmp_path, monkeypatch, user_cache):
    archive = make_archive(tmp_path / 'a.tar.xz', files())
    CIFAR10(str(archive))
    prepared = sorted(os.listdir(tmp_path))
    assert len(prepared) == 5 and all(name.startswith('.a.tar.xz.mmmim-') for name in prepared[:4])
    assert not any(user_cache.iterdir())
    monkeypatch.setattr(cifar10, '_members', lambda source: pytest.fail('the archive was read again'))
    dataset = CIFAR10(str(archive), split='val')
    assert isinstance(cifar10._memory_map(dataset._images), np.memmap)
    copy = pickle.loads(pickle.dumps(dataset))
    assert len(pickle.dumps(dataset)) < 20_000 and copy.get_data_info(5)['img'][0, 0, 0] == 112
    assert dataset.get_subset([5, 0]).get_labels().tolist() == [1, 0]
    assert CIFAR10(str(archive), indices=2).get_labels().tolist() == [0, 0]
    copy.get_data_info(0)['img'][:] = 9  # a copy: what is prepared can't be changed
    assert dataset.get_data_info(0)['img'][0, 0, 0] == 100


@pytest.mark.parametrize('kind', ['folders', 'archive'])
def test_made_anew_when_the_source_changes(tmp_path, kind):
    contents = files()
    source = make(kind, tmp_path, contents)
    assert len(CIFAR10(str(source))) == 6
    contents['train/ant/0.png'] = encoded(50)
    if kind == 'folders':
        make_folder(source, contents)
    else:
        make_archive(source, contents, mode='w')
    dataset = CIFAR10(str(source))
    assert len(dataset) == 7 and dataset.metainfo['classes'] == ('ant', 'cat', 'dog')
    assert dataset.get_data_info(0)['img'][0, 0, 0] == 50
    assert len(CIFAR10(str(source), split='val')) == 6
    kept = [file for file in source.parent.iterdir() if 'mmmim' in file.name]
    assert len(kept) == 4, 'what was prepared from the earlier content is removed'


def test_damaged_preparation_is_made_anew(tmp_path):
    archive = make_archive(tmp_path / 'a.tar', files(), mode='w')
    CIFAR10(str(archive))
    cifar10._memory_map.cache_clear()
    (images,) = tmp_path.glob('.*train*.npy')
    images.write_bytes(images.read_bytes()[:-100])
    assert CIFAR10(str(archive)).get_data_info(5)['img'][31, 31, 0] == 12
    (index,) = tmp_path.glob('.*train*.json')
    index.write_text('{')
    assert len(CIFAR10(str(archive))) == 6


def test_read_only_source(tmp_path, user_cache, monkeypatch):
    (tmp_path / 'data').mkdir()
    archive = make_archive(tmp_path / 'data/a.tar', files(), mode='w')
    (tmp_path / 'data').chmod(0o555)
    assert len(CIFAR10(str(archive))) == 6
    assert os.listdir(tmp_path / 'data') == ['a.tar']
    assert len(list((user_cache / 'mmmim').iterdir())) == 4
    monkeypatch.setattr(cifar10, '_members', lambda source: pytest.fail('the archive was read again'))
    assert len(CIFAR10(str(archive), split='val')) == 6
    (tmp_path / 'data').chmod(0o755)


def test_nowhere_to_write(tmp_path, monkeypatch):
    archive = make_archive(tmp_path / 'a.tar', files(), mode='w')
    monkeypatch.setattr(os, 'replace', lambda *args: (_ for _ in ()).throw(PermissionError('read-only')))
    assert CIFAR10(str(archive)).get_data_info(5)['img'][0, 0, 0] == 12
    assert os.listdir(tmp_path) == ['a.tar']


def test_nothing_in_an_archive_is_written_by_its_name(tmp_path):
    inside = tmp_path / 'inside'
    inside.mkdir()
    contents = {
        '../train/cat/escaped.png': encoded(1),
        f'{tmp_path}/train/cat/absolute.png': encoded(2),
        'train/cat/0.png': encoded(3),
        'train/cat/.hidden.png': encoded(4),
        'train/readme.txt': b'x',
        'other/cat/0.png': encoded(5),
    }
    archive = make_archive(inside / 'a.tar', contents, mode='w')
    (tmp_path / 'secret.png').write_bytes(encoded(99))
    with tarfile.open(archive, 'a') as tar:
        for kind, name in ((tarfile.SYMTYPE, 'train/cat/link.png'), (tarfile.LNKTYPE, 'train/cat/hard.png')):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tmp_path / 'secret.png')
            tar.addfile(member)
    dataset = CIFAR10(str(archive))
    values = {int(dataset.get_data_info(i)['img'][0, 0, 0]) for i in range(len(dataset))}
    assert values == {2, 3}  # the absolute name is only a name
    assert sorted(os.listdir(tmp_path)) == ['inside', 'secret.png']
    assert all(name == 'a.tar' or name.startswith('.a.tar.mmmim-train-') for name in os.listdir(inside))


def test_unreadable_images_are_left_out_and_counted(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(cifar10, 'print_log', lambda message, **kwargs: messages.append(message))
    contents = files()
    contents['train/cat/1.png'] = b'no image'
    contents['train/dog/0.png'] = contents['train/dog/0.png'][:60]
    contents['train/dog/big.png'] = b'\0' * (2 << 20)
    jpeg = encoded(200, 'JPEG')
    contents['train/dog/whole.jpg'], contents['train/dog/cut.jpg'] = jpeg, jpeg[:-60]
    dataset = CIFAR10(str(make_archive(tmp_path / 'a.tar', contents, mode='w')))
    assert dataset.get_labels().tolist() == [0, 0, 1, 1, 1]
    assert dataset.get_data_info(1)['img'][0, 0, 0] == 2 and dataset.get_data_info(2)['img'][0, 0, 0] == 11
    assert abs(int(dataset.get_data_info(4)['img'][0, 0, 0]) - 200) < 3
    assert any('4 of 15 images' in message and 'train/cat/1.png' in message for message in messages)


def test_fast_decoder_gives_pillows_pixels(monkeypatch):
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, 'JPEG')
    assert cifar10._FRAME_HEADER in content.getvalue()
    fast = cifar10._decode(content.getvalue())
    monkeypatch.setattr(cifar10, '_FRAME_HEADER', b'never in it')
    assert np.abs(fast.astype(int) - cifar10._decode(content.getvalue())).max() <= 1


def test_errors_name_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match='data_root'):
        CIFAR10(str(tmp_path / 'nowhere'))
    with pytest.raises(FileNotFoundError, match='neither train/<class>'):
        CIFAR10(str(tmp_path))
    with pytest.raises(ValueError, match="split is 'test'"):
        CIFAR10(str(tmp_path), split='test')
    archive = make_archive(tmp_path / 'a.tar.xz', {'train/cat/0.png': encoded(1)})
    with pytest.raises(ValueError, match='no images of the form .*val/<class>'):
        CIFAR10(str(tmp_path), split='val')
    archive.unlink()
    (tmp_path / 'b.tar').write_bytes(b'')
    (tmp_path / 'c.tgz').write_bytes(b'')
    with pytest.raises(FileNotFoundError, match="archives found: \\['b.tar', 'c.tgz'\\]"):
        CIFAR10(str(tmp_path))
    large = make_archive(tmp_path / 'large.tar', {'train/cat/0.png': encoded(1, side=64)}, mode='w')
    with pytest.raises(ValueError, match='train/cat/0.png .* has 64 x 64 pixels.*ImageFolder'):
        CIFAR10(str(large))


@pytest.mark.parametrize('name, mode', [('a.tar', 'w'), ('a.tar.gz', 'w:gz'), ('a.tar.xz', 'w:xz')])
def test_an_archive_that_breaks_off_is_noticed(tmp_path, name, mode):
    archive = make_archive(tmp_path / name, files(), mode=mode)
    assert len(CIFAR10(str(archive))) == 6
    whole = archive.read_bytes()
    with tarfile.open(archive) as tar:
        places = [member.offset for member in tar]
    cuts = [places[5], places[5] + 100, places[5] + 600] if mode == 'w' else [len(whole) // 2, len(whole) - 4]
    for cut in (0, 100, *cuts):
        archive.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=f'{name} is damaged or incomplete'):
            CIFAR10(str(archive))


def test_the_real_archive(tmp_path):
    archive = DATA / 'cifar10/cifar10_jpg.tar.xz'
    if not archive.exists():
        pytest.skip(f'needs {archive} (MMMIM_DATA)')
    os.symlink(archive, tmp_path / archive.name)
    train = CIFAR10(str(tmp_path))
    started = time.perf_counter()
    val = CIFAR10(str(tmp_path), split='val')
    assert time.perf_counter() - started < 2  # prepared together with train
    assert np.bincount(train.get_labels()).tolist() == [5000] * 10
    assert np.bincount(val.get_labels()).tolist() == [1000] * 10
    means = np.asarray(cifar10._memory_map(train._images)[::10]).mean(axis=(0, 1, 2)) / 255
    assert np.abs(means - (0.4914, 0.4822, 0.4465)).max() < 0.005  # the known means of CIFAR-10
