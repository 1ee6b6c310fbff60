"""The generated data set: its three layouts, that it can be relied on, and what can be learned from it."""

import errno
import json
import os
import sys
from collections import Counter
from types import SimpleNamespace
from unittest.mock import DEFAULT, Mock

import numpy as np
import pytest
from harness import ROOT
from PIL import Image, ImageDraw
from skimage.feature import hog
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmmim.datasets.image_folder import ImageFolder

sys.path.insert(0, str(ROOT / 'tools/datasets'))
import make_scenes  # noqa: E402
from scenes import folder, layouts  # noqa: E402
from scenes.outlines import bounding_box, polygons  # noqa: E402
from scenes.scene import LABELS  # noqa: E402
from scenes.things import CLASSES  # noqa: E402

pytestmark = pytest.mark.runs

SIZE, COUNT = 48, 500
TINY = dict(train=12, val=10, size=32, workers=1)


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'scenes'
    assert make_scenes.make_scenes(out, train=COUNT, val=COUNT, size=SIZE, workers=2)
    return out


def contents(root):
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob('*')) if file.is_file()}


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['make_scenes.py', *map(str, args)])
    return make_scenes.main()


def coco(root, split='val'):
    found = json.loads((root / f'coco/annotations/instances_{split}2017.json').read_text())
    by_image = {image['id']: [] for image in found['images']}
    for annotation in found['annotations']:
        by_image[annotation['image_id']].append(annotation)
    return found, by_image


def drawn(segmentation, size=SIZE, zoom=8):
    """The pixels that polygons cover for the most part, by a rasteriser that is not the generator's."""
    canvas = Image.new('L', (size * zoom, size * zoom))
    for polygon in segmentation:
        ImageDraw.Draw(canvas).polygon([coordinate * zoom - 0.5 for coordinate in polygon], fill=255)
    return np.asarray(canvas.resize((size, size), Image.Resampling.BOX)) > 127


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_workers_and_counts_change_no_image_and_the_seed_changes_all(tmp_path):
    settings = dict(train=20, val=10, size=32)
    make_scenes.make_scenes(tmp_path / 'one', **settings, workers=1)
    make_scenes.make_scenes(tmp_path / 'two', **settings, workers=2)
    one, two = contents(tmp_path / 'one'), contents(tmp_path / 'two')
    assert one == two and len(one) == 30 * 4 + 4  # three images and a PNG each; two jsons, classes.txt, scenes.json
    make_scenes.make_scenes(tmp_path / 'more', train=30, val=10, size=32, workers=1)
    more = contents(tmp_path / 'more')
    pictures = [name for name in one if name.endswith(('.jpg', '.png'))]
    assert all(more[name] == one[name] for name in pictures)
    make_scenes.make_scenes(tmp_path / 'other', **settings, workers=1, seed=1)
    other = contents(tmp_path / 'other')
    assert not any(other[name] == one[name] for name in pictures)
    assert not {data for name, data in one.items() if name.startswith('train')} & {
        data for name, data in one.items() if name.startswith('val')
    }


@pytest.mark.runs
def test_class_folders_are_balanced_and_read_by_image_folder(scenes):
    for split in ('train', 'val'):
        data = ImageFolder(str(scenes / split), pipeline=[dict(type='mmmim.LoadImage')])
        labels = [data.get_data_info(i)['gt_label'] for i in range(len(data))]
        assert Counter(labels) == {k: COUNT // 10 for k in range(10)}
    assert sorted(path.name for path in (scenes / 'train').iterdir()) == list(CLASSES)


def test_the_three_layouts_have_the_same_images(scenes):
    for split, ade in (('train', 'training'), ('val', 'validation')):
        for file in list((scenes / split).rglob('*.jpg'))[::25]:
            data = file.read_bytes()
            assert (scenes / f'ade/images/{ade}' / file.name).read_bytes() == data
            assert (scenes / f'coco/{split}2017/{int(file.stem):012d}.jpg').read_bytes() == data


def test_index_maps_label_every_pixel(scenes):
    assert (scenes / 'ade/classes.txt').read_text().split() == list(LABELS)
    seen = Counter()
    for file in (scenes / 'ade/annotations/validation').iterdir():
        index_map = np.asarray(Image.open(file))
        assert index_map.shape == (SIZE, SIZE) and index_map.dtype == np.uint8
        seen.update(np.unique(index_map).tolist())
    assert set(seen) == set(range(1, len(LABELS) + 1))  # every class occurs, and 0 does not
    assert min(seen.values()) > COUNT / 20


def test_the_things_of_coco_are_those_of_the_index_map(scenes):
    found, by_image = coco(scenes)
    assert [category['name'] for category in found['categories']] == list(CLASSES)
    assert len({annotation['id'] for annotation in found['annotations']}) == len(found['annotations'])
    overlaps = []
    for number, annotations in by_image.items():
        index_map = np.asarray(Image.open(scenes / f'ade/annotations/validation/{number:06d}.png'))
        for category in range(1, 11):
            things = [a for a in annotations if a['category_id'] == category]
            pixels = index_map == category
            assert sum(a['area'] for a in things) == pixels.sum()
            if things:
                mask = np.any([drawn(a['segmentation']) for a in things], axis=0)
                overlaps.append((pixels.sum(), overlap(mask, pixels)))
    areas, overlaps = np.transpose(overlaps)
    assert overlaps.mean() > 0.96 and overlaps.min() > 0.75 and overlaps[areas > 150].min() > 0.9


def test_boxes_areas_and_polygons_agree(scenes):
    _, by_image = coco(scenes)
    for annotations in by_image.values():
        assert 2 <= len(annotations) <= 5
        for annotation in annotations:
            corners = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in annotation['segmentation']])
            x, y, width, height = annotation['bbox']
            assert [*corners.min(axis=0), *corners.max(axis=0)] == [x, y, x + width, y + height]
            assert 0 <= x and 0 <= y and x + width <= SIZE and y + height <= SIZE
            assert annotation['iscrowd'] == 0 and 0 < annotation['area'] <= width * height
            assert all(len(polygon) >= 6 for polygon in annotation['segmentation'])


def test_the_class_is_that_of_the_thing_that_shows_most(scenes):
    _, by_image = coco(scenes)
    for file in (scenes / 'val').rglob('*.jpg'):
        first, second = sorted(by_image[int(file.stem)], key=lambda a: -a['area'])[:2]
        assert CLASSES[first['category_id'] - 1] == file.parent.name
        assert first['area'] > 1.3 * second['area']


def test_other_things_are_of_all_classes(scenes):
    _, by_image = coco(scenes)
    others = [sorted(annotations, key=lambda a: a['area'])[:-1] for annotations in by_image.values()]
    counts = Counter(a['category_id'] for rest in others for a in rest)
    assert len(counts) == 10 and min(counts.values()) > 0.6 * max(counts.values())


def test_numbers_that_make_no_sense(tmp_path):
    for name, value in dict(train=0, val=0, size=16, seed=-1, workers=-1).items():
        with pytest.raises(ValueError, match=f'--{name}'):
            make_scenes.make_scenes(tmp_path / 'out', **{name: value})


@pytest.mark.parametrize('size', [32, 64, 100])
def test_any_size(tmp_path, size):
    make_scenes.make_scenes(tmp_path / 'out', train=3, val=1, size=size, workers=1)
    assert {Image.open(file).size for file in (tmp_path / 'out').rglob('*.*g')} == {(size, size)}
    found, _ = coco(tmp_path / 'out', 'train')
    assert [(image['width'], image['height']) for image in found['images']] == [(size, size)] * 3


def load(root, split):
    files = sorted((root / split).rglob('*.jpg'))
    return np.stack([np.asarray(Image.open(file)) for file in files]), [file.parent.name for file in files]


def colour_histograms(images):
    counts = [np.histogramdd(image.reshape(-1, 3), bins=8, range=[(0, 256)] * 3)[0].ravel() for image in images]
    return np.sqrt(np.array(counts) / images[0].shape[0] ** 2)


def test_colours_do_not_tell_the_class_and_forms_do(scenes):
    (train, train_labels), (val, val_labels) = load(scenes, 'train'), load(scenes, 'val')
    classifier = LogisticRegression(C=10, max_iter=1000).fit(colour_histograms(train), train_labels)
    assert classifier.score(colour_histograms(train), train_labels) > 0.2  # it has learned what there was
    by_colour = classifier.score(colour_histograms(val), val_labels)
    assert by_colour < 0.18, by_colour

    def forms(images):
        return np.array([hog(image.mean(axis=-1), pixels_per_cell=(8, 8), cells_per_block=(2, 2)) for image in images])

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    by_form = classifier.fit(forms(train), train_labels).score(forms(val), val_labels)
    assert by_form > 0.5, by_form


def test_a_second_call_does_nothing(tmp_path, monkeypatch, capsys):
    args = [tmp_path / 'out', *'--train 12 --val 10 --size 32 --workers 1'.split()]
    assert run(monkeypatch, *args) == 0 and 'drawn' in capsys.readouterr().out
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / 'out').rglob('*')}
    assert run(monkeypatch, *args) == 0 and 'already' in capsys.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / 'out').rglob('*')}


def test_other_settings_need_force(tmp_path, monkeypatch, capsys):
    make_scenes.make_scenes(tmp_path / 'out', **TINY)
    before = contents(tmp_path / 'out')
    args = [tmp_path / 'out', *'--train 11 --val 10 --size 32 --workers 1'.split()]
    assert run(monkeypatch, *args) == 2
    message = capsys.readouterr().err
    assert 'train=12' in message and 'train=11' in message and '--force' in message and message.count('\n') == 1
    assert contents(tmp_path / 'out') == before
    assert run(monkeypatch, *args, '--force') == 0
    assert len(list((tmp_path / 'out/train').rglob('*.jpg'))) == 11


@pytest.mark.parametrize('force', [False, True])
def test_what_is_not_ours_is_never_touched(tmp_path, force):
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train/photo.jpg').write_bytes(b'mine')
    with pytest.raises(FileExistsError, match='other files .train.'):
        make_scenes.make_scenes(tmp_path, **TINY, force=force)
    assert contents(tmp_path) == {'train/photo.jpg': b'mine'}
    with pytest.raises(NotADirectoryError, match='is a file'):
        make_scenes.make_scenes(tmp_path / 'train/photo.jpg', **TINY, force=force)


def stop_after(monkeypatch, count, error):
    """Let writing scenes fail after some."""
    write = Mock(wraps=layouts.write_scene, side_effect=[DEFAULT] * count + [error])
    monkeypatch.setattr(make_scenes, 'write_scene', write)


def test_an_interrupted_set_is_not_taken_for_whole_and_is_done_again(tmp_path, monkeypatch, capsys):
    args = [tmp_path / 'out', *'--train 12 --val 10 --size 32 --workers 1'.split()]
    with monkeypatch.context() as patched:
        stop_after(patched, 7, KeyboardInterrupt())
        assert run(patched, *args) == 130
    assert 'interrupted' in capsys.readouterr().err
    assert len(list((tmp_path / 'out').rglob('*.jpg'))) == 21 and not (tmp_path / 'out/scenes.json').exists()
    assert run(monkeypatch, *args) == 0
    make_scenes.make_scenes(tmp_path / 'whole', **TINY)
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def test_two_at_once_do_not_mix(tmp_path):
    first = folder.SceneFolder(tmp_path / 'out', dict(train=1, val=1, size=32))
    first.claim()
    with pytest.raises(BlockingIOError, match='another process'):
        make_scenes.make_scenes(tmp_path / 'out', **TINY)
    first.release()  # as the system does when a process is killed
    assert make_scenes.make_scenes(tmp_path / 'out', **TINY)


def test_no_room_is_said_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(folder.os, 'statvfs', lambda path: SimpleNamespace(f_frsize=4096, f_bavail=10))
    assert run(monkeypatch, tmp_path / 'out', '--train', 100) == 2
    message = capsys.readouterr().err
    assert 'MB' in message and 'free' in message and message.count('\n') == 1 and contents(tmp_path) == {}


def test_a_full_disk_ends_with_one_line_and_is_not_left_full(tmp_path, monkeypatch, capsys):
    stop_after(monkeypatch, 5, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert run(monkeypatch, tmp_path / 'out', *'--train 12 --val 10 --size 32 --workers 1'.split()) == 2
    message = capsys.readouterr().err
    assert 'is full' in message and str(tmp_path / 'out') in message and message.count('\n') == 1
    assert contents(tmp_path) == {}


def test_where_there_are_no_hard_links_files_are_copied(tmp_path, monkeypatch):
    make_scenes.make_scenes(tmp_path / 'linked', **TINY)
    monkeypatch.setattr(layouts.os, 'link', Mock(side_effect=PermissionError('no links here')))
    make_scenes.make_scenes(tmp_path / 'copied', **TINY)
    assert contents(tmp_path / 'linked') == contents(tmp_path / 'copied')


def test_outlines_run_along_the_edges_of_pixels():
    mask = np.zeros((9, 9), bool)
    mask[2, 5] = True
    (polygon,) = polygons(mask)
    assert sorted(zip(polygon[::2], polygon[1::2])) == [(5, 2), (5, 3), (6, 2), (6, 3)]
    assert bounding_box(mask) == [5, 2, 1, 1]
    mask[1:8, 1:8] = True
    mask[2:7, 2:7] = mask[1, 1] = False  # what is inside touches what is outside at a corner only
    assert overlap(drawn(polygons(mask), 9), mask) > 0.95


def test_holes_and_parts_are_kept():
    y, x = np.mgrid[:40, :40]
    distance = np.hypot(x - 19.5, y - 19.5)
    mask = (distance < 15) & (distance > 8)
    mask[:5, :5] = True
    found = polygons(mask)
    assert len(found) == 3  # two halves of the ring, and the square
    assert overlap(drawn(found, 40), mask) > 0.95
