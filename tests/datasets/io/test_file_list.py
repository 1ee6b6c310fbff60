"""The list of a folder's images, and when its cache holds."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mmmim.datasets import list_images
from mmmim.datasets.io import file_list


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp('cache')
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder))
    return folder


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'')  # only names are looked at


def age(root, seconds=60):
    """Make folders look as if nothing had changed for a while."""
    then = time.time() - seconds
    for folder, _, _ in os.walk(root):
        os.utime(folder, (then, then))


def test_list_is_sorted_and_skips_what_is_hidden_or_no_image(tmp_path):
    fill(tmp_path, 'b/2.JPG', 'b/10.png', 'a/x y.jpeg', 'top.bmp', '.hidden.png', '.git/a.png')
    (tmp_path / 'notes.txt').write_text('')
    assert list_images(tmp_path) == ['a/x y.jpeg', 'b/10.png', 'b/2.JPG', 'top.bmp']
    assert list_images(str(tmp_path), ['PNG', '.bmp']) == ['b/10.png', 'top.bmp']


def test_every_ending_of_a_known_format_is_an_image(tmp_path):
    names = [f'a.{ending}' for ending in ('jfif', 'jpe', 'JFIF', 'mpo', 'jp2', 'apng', 'pbm', 'dib', 'tif', 'npy')]
    fill(tmp_path, *names, 'b.png ', 'c.heic', 'd')
    found = file_list.listing(str(tmp_path))
    assert found.paths.tolist() == sorted([*names, 'b.png ']) and found.skipped == {'.heic': 1, '': 1}


def test_skipped_files_and_results_are_kept_in_the_cache(tmp_path, monkeypatch):
    root = tmp_path / 'photos'
    fill(root, 'a/1.png', 'a/2.png', 'a/3.raw', 'run/last_checkpoint', 'run/9.png')
    age(root)
    assert cached_twice(root, monkeypatch)
    found = file_list.listing(str(root), cache_from=2)
    assert found.skipped == {'.raw': 1} and found.results == ['run/'] and len(found.paths) == 2
    (root / 'run/last_checkpoint').unlink()  # no results any more
    assert 'run/9.png' in list_images(root, cache_from=2)


def test_features_of_an_earlier_call_are_no_images(tmp_path):
    fill(tmp_path, 'a.png')
    for name, shape, kind in (('features', (3, 5), 'f4'), ('scene', (3, 5), 'u1'), ('depth', (4, 5), 'f4')):
        np.save(tmp_path / f'{name}.npy', np.zeros(shape, kind))
        (tmp_path / f'{name}.txt').write_text('x\n' * 3)
    found = file_list.listing(str(tmp_path))
    assert found.paths.tolist() == ['a.png', 'depth.npy', 'scene.npy'] and found.results == ['features.npy']


def test_many_endings_are_counted_together():
    counts = file_list._endings(f'{i}.{i}' for i in range(100))
    assert sum(counts.values()) == 100 and counts['.*'] == 80
    assert file_list.endings_in_words({'.a': 1200, '': 3}) == '1,200 x .a, 3 x no extension'


def test_links_are_followed_and_loops_cut(tmp_path):
    root = tmp_path / 'root'
    fill(root, 'a/1.png')
    fill(tmp_path, 'elsewhere/2.png', 'elsewhere/deep/3.png')
    (root / 'linked').symlink_to(tmp_path / 'elsewhere')
    (root / 'file.png').symlink_to(root / 'a/1.png')
    (root / 'a/up').symlink_to(root)
    (root / 'self').symlink_to(root / 'self')
    (root / 'broken.png').symlink_to(root / 'nothing.png')
    (tmp_path / 'elsewhere/back').symlink_to(root / 'a')
    assert list_images(root) == ['a/1.png', 'file.png', 'linked/2.png', 'linked/back/1.png', 'linked/deep/3.png']


def cached_twice(root, monkeypatch):
    """Whether a second look at the folder uses the cache."""
    list_images(root, cache_from=2)
    with monkeypatch.context() as patch:
        patch.setattr(file_list, 'walk', lambda *args: pytest.fail('the folder was listed again'))
        try:
            list_images(root, cache_from=2)
        except pytest.fail.Exception:
            return False
        return True


def test_cache_beside_the_folder(tmp_path, monkeypatch, user_cache):
    root = tmp_path / 'photos'
    fill(root, 'a/1.png', 'a/2.png', 'b/3.png')
    age(root)
    assert list_images(root, cache_from=4) == ['a/1.png', 'a/2.png', 'b/3.png']
    assert os.listdir(tmp_path) == ['photos']  # a small folder is not cached
    assert cached_twice(root, monkeypatch)
    assert sorted(os.listdir(tmp_path)) == ['.photos.mmmim-files', 'photos']  # and no temporary file
    assert not any(user_cache.iterdir())
    assert list_images(root, ['jpg'], cache_from=2) == []  # other extensions are another list
    assert list_images(root, cache_from=2) == ['a/1.png', 'a/2.png', 'b/3.png']


@pytest.mark.parametrize('change', ['add', 'remove', 'rename', 'new folder', 'relink'])
def test_cache_is_refreshed_when_the_folder_changes(tmp_path, monkeypatch, change):
    root = tmp_path / 'photos'
    fill(root, 'a/1.png', 'a/2.png', 'b/deep/3.png')
    fill(tmp_path, 'one/4.png', 'two/5.png')
    (root / 'b/link').symlink_to(tmp_path / 'one')
    age(tmp_path)
    assert cached_twice(root, monkeypatch)
    expected = {'a/1.png', 'a/2.png', 'b/deep/3.png', 'b/link/4.png'}
    if change == 'add':
        fill(root, 'b/deep/9.png')
        expected |= {'b/deep/9.png'}
    elif change == 'remove':
        (root / 'a/2.png').unlink()
        expected -= {'a/2.png'}
    elif change == 'rename':
        (root / 'b/deep/3.png').rename(root / 'b/deep/8.png')
        expected = expected - {'b/deep/3.png'} | {'b/deep/8.png'}
    elif change == 'new folder':
        fill(root, 'c/7.png')
        expected |= {'c/7.png'}
    else:
        (root / 'b/link').unlink()
        (root / 'b/link').symlink_to(tmp_path / 'two')
        expected = expected - {'b/link/4.png'} | {'b/link/5.png'}
    assert list_images(root, cache_from=2) == sorted(expected)


def test_a_folder_that_has_just_changed_is_not_trusted(tmp_path, monkeypatch):
    root = tmp_path / 'photos'
    fill(root, 'a/1.png', 'a/2.png')
    age(root, seconds=1)
    assert not cached_twice(root, monkeypatch)
    age(root, seconds=60)
    assert cached_twice(root, monkeypatch)


@pytest.mark.parametrize(
    'damage',
    [
        lambda kept: b'',
        lambda kept: b'{"format": 1',
        lambda kept: b'[]',
        lambda kept: b'{"format": 3}',
        lambda kept: b'\x80\x04K\x01.',
        lambda kept: b'[' * 100_000,
        lambda kept: kept[:-1],  # cut
        lambda kept: kept.replace(b'2.png', b'3.png'),
        lambda kept: kept.replace(b'"format": 3', b'"format": 2'),
        lambda kept: kept[kept.index(b'\n') :],
    ],
)
def test_a_damaged_cache_is_written_anew(tmp_path, monkeypatch, damage):
    root, place = tmp_path / 'photos', tmp_path / '.photos.mmmim-files'
    fill(root, '1.png', '2.png')
    age(root)
    assert cached_twice(root, monkeypatch)
    kept = place.read_bytes()
    place.write_bytes(damage(kept))
    assert place.read_bytes() != kept
    assert list_images(root, cache_from=2) == ['1.png', '2.png']
    facts, names = place.read_bytes().split(b'\n')
    assert json.loads(facts)['folders'].keys() == {''} and names == b'1.png\x002.png\x00'
    assert cached_twice(root, monkeypatch)


def test_names_of_any_bytes_survive_the_cache(tmp_path, monkeypatch):
    root = tmp_path / 'photos'
    fill(root, 'two\nlines.png', 'Zürich/Über.png')
    (root / os.fsdecode(b'no\xfftext.png')).write_bytes(b'')
    age(root)
    fresh = list_images(root, cache_from=2)
    assert sorted(os.fsencode(name) for name in fresh) == sorted(
        [b'two\nlines.png', 'Zürich/Über.png'.encode(), b'no\xfftext.png']
    )
    assert cached_twice(root, monkeypatch) and list_images(root, cache_from=2) == fresh


@pytest.mark.parametrize('obstacle', ['mode', 'access', 'failing write'])
def test_cache_goes_to_the_user_when_the_parent_is_read_only(tmp_path, monkeypatch, user_cache, obstacle):
    parent = tmp_path / 'parent'
    root = parent / 'photos'
    fill(root, '1.png', '2.png')
    age(root)
    if obstacle == 'mode':
        parent.chmod(0o555)
    elif obstacle == 'access':
        access = os.access
        monkeypatch.setattr(os, 'access', lambda path, mode: access(path, mode) and Path(path) != parent)
    else:
        replace = os.replace

        def failing(source, target):
            if Path(target).parent == parent:
                raise OSError('no space left')
            replace(source, target)

        monkeypatch.setattr(os, 'replace', failing)
    assert cached_twice(root, monkeypatch)
    assert os.listdir(parent) == ['photos']
    (cached,) = (user_cache / 'mmmim').iterdir()
    assert cached.name.startswith('photos-') and cached.suffix == '.files'
    parent.chmod(0o755)


def test_two_folders_of_one_name_do_not_share_a_user_cache(tmp_path):
    first, second = (file_list.cache_places(tmp_path / name / 'photos', 'files')[1] for name in 'ab')
    assert first != second and first.parent == second.parent


def test_nowhere_to_write_is_no_error(tmp_path, monkeypatch):
    fill(tmp_path / 'photos', '1.png', '2.png')
    monkeypatch.setattr(os, 'replace', lambda *args: (_ for _ in ()).throw(PermissionError('read-only')))
    assert list_images(tmp_path / 'photos', cache_from=1) == ['1.png', '2.png']
    assert os.listdir(tmp_path) == ['photos']


def test_several_writers_leave_a_whole_file(tmp_path):
    place = tmp_path / 'cache'

    def write(value):
        for _ in range(20):
            file_list.write_to_first([place], lambda stream: [stream.write(bytes([value]) * 1000) for _ in range(20)])
            content = place.read_bytes()
            assert len(content) == 20_000 and len(set(content)) == 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert os.listdir(tmp_path) == ['cache']
