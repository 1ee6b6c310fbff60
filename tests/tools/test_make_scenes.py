import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location('make_scenes', ROOT / 'tools/datasets/make_scenes.py')
make_scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_scenes)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob('*')) if file.is_file()}


def test_layout_and_the_same_seed_gives_the_same_files(tmp_path):
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        assert make_scenes.make_scenes(tmp_path / name, train=20, val=10, size=32, seed=seed)
    first, second, other = (contents(tmp_path / name) for name in 'abc')
    assert first == second
    assert len(first) == 31 and {name.split('/')[1] for name in first if '/' in name} == set(make_scenes.SHAPES)
    assert sum(name.startswith('val/') for name in first) == 10
    images = [name for name in first if name.endswith('.jpg')]
    assert sum(first[name] == other[name] for name in images) == 0
    assert Image.open(tmp_path / 'a' / images[0]).size == (32, 32)
    assert not {data for name, data in first.items() if name.startswith('train/')} & {
        data for name, data in first.items() if name.startswith('val/')}


def test_what_is_there_is_kept_and_what_is_not_ours_is_never_removed(tmp_path):
    out = tmp_path / 'scenes'
    make_scenes.make_scenes(out, train=10, val=10, size=32)
    before = {file: file.stat().st_mtime_ns for file in out.rglob('*.jpg')}
    assert not make_scenes.make_scenes(out, train=10, val=10, size=32)
    assert before == {file: file.stat().st_mtime_ns for file in out.rglob('*.jpg')}
    assert make_scenes.make_scenes(out, train=20, val=10, size=32)  # another recipe
    assert json.loads((out / 'scenes.json').read_text())['train'] == 20
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/photo.jpg').touch()
    with pytest.raises(FileExistsError, match='something else'):
        make_scenes.make_scenes(tmp_path / 'mine')
    assert (tmp_path / 'mine/photo.jpg').exists()


def test_an_interrupted_drawing_is_not_taken_for_whole(tmp_path, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(make_scenes, 'draw_scene', fail)
        with pytest.raises(KeyboardInterrupt):
            make_scenes.make_scenes(tmp_path / 'scenes', train=10, val=10, size=32)
    assert not (tmp_path / 'scenes').exists()
    assert make_scenes.make_scenes(tmp_path / 'scenes', train=10, val=10, size=32)


def test_mean_colour_does_not_tell_the_class():
    names = sorted(make_scenes.SHAPES)

    def means(place, count):
        images = [make_scenes.draw_scene(name, 32, np.random.default_rng([7, place, k, i]))
                  for i in range(count) for k, name in enumerate(names)]
        return np.array([np.asarray(image, float).mean((0, 1)) for image in images]).reshape(count, len(names), 3)

    centers = means(0, 40).mean(axis=0)  # [10, 3]
    held_out = means(1, 30).reshape(-1, 3)
    nearest = np.linalg.norm(held_out[:, None] - centers[None], axis=2).argmin(axis=1)
    accuracy = (nearest == np.tile(np.arange(len(names)), 30)).mean()
    assert accuracy < 0.25, accuracy
