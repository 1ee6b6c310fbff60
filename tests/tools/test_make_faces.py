"""The drawn faces: the same for the same seed, and each point where its part is."""

import runpy

import cv2
import numpy as np
import pytest
from harness import ROOT, python

pytestmark = pytest.mark.runs

SCRIPT = ROOT / 'tools/datasets/make_faces.py'


FACES = runpy.run_path(str(SCRIPT))


def draw(folder, **options):
    """What is written, by its path."""
    FACES['make_faces'](folder, **dict(dict(train=3, test=1, size=64), **options))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_the_seed_decides_and_a_face_depends_on_its_number_alone(tmp_path):
    a, b, more, other = (
        draw(tmp_path / name, **options)
        for name, options in (('a', {}), ('b', {}), ('more', dict(train=5)), ('other', dict(seed=1)))
    )
    assert a == b and len(a) == 6 and a.keys() == other.keys()
    images = [name for name in a if name.endswith('.jpg')]
    assert len(images) == 4 and all(a[name] == more[name] != other[name] for name in images)


def test_wrong_numbers_are_told_in_a_line(tmp_path):
    done = python(SCRIPT, tmp_path, '--train', 0)
    assert done.returncode == 2 and '--train and --test must be at least 1' in done.stderr
    assert 'Traceback' not in done.stderr and not list(tmp_path.iterdir())


def test_pupils_are_in_eyes_and_features_in_the_outline():
    for index in range(20):
        image, points, _ = FACES['draw_face'](0, 'train', index, 96)
        assert points.shape == (98, 2) and points.min() >= 0 and points.max() <= 95 and image.shape == (96, 96, 3)
        for eye, pupil in ((points[60:68], points[96]), (points[68:76], points[97])):
            assert cv2.pointPolygonTest(eye.astype(np.float32), tuple(map(float, pupil)), False) > 0
        outer, inner = points[76:88].astype(np.float32), points[88:96]
        assert all(cv2.pointPolygonTest(outer, tuple(map(float, point)), False) > 0 for point in inner)
