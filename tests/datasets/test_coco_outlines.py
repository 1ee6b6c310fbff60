"""Which outlines are masks of their image."""

import numpy as np
import pytest

from mmmim.datasets.coco_outlines import read_runs, usable_outline

SIZE = (48, 40)  # width, height
SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
PIXELS = 48 * 40
NAN = float('nan')


def runs(counts, size=(40, 48)):
    return dict(size=list(size), counts=counts)


WHOLE = [
    [SQUARE],
    [SQUARE, [1, 1, 5, 1, 5, 5]],
    [[-5, -5, 60, -5, 60, 60]],  # drawn over the border
    runs([480, 20, PIXELS - 500]),
    runs([0, PIXELS]),
    runs('P?d0\\\\1'),  # [480, 20, 1420]
]

BROKEN = {
    'without an outline': [None, []],
    'one flat list of numbers': [SQUARE, [1]],
    'neither a list of polygons nor run lengths': ['10,10,30,10,30,30', 7, True],
    'fewer than three points': [[[10, 10, 30, 30]], [[10, 10]], [[]]],
    'odd count': [[SQUARE[:-1]]],
    'no list of finite numbers': [
        [[str(value) for value in SQUARE]],
        [[10, None, 30, 10, 30, 30]],
        [[NAN, *SQUARE[1:]]],
        [[float('inf'), *SQUARE[1:]]],
        [[[10, 10], [30, 10], [30, 30]]],  # points as pairs
        [[dict(x=10, y=10)] * 3],
        [None],
        ['10 10 30 10 30 30'],
    ],
    'outside of the image': [[[value + 50 for value in SQUARE]], [[value - 50 for value in SQUARE]]],
    'covers no pixel': [[[value / 48 for value in SQUARE]], [[10, 10, 10, 20, 10, 30]], [[10, 10] * 3]],
    'another `size`': [runs([480, 20, PIXELS - 500], (48, 40)), runs([PIXELS], (40, 48.5)), dict(counts=[0, PIXELS])],
    'cannot be read': [
        dict(size=[40, 48]),
        runs(None),
        runs([]),
        runs([1, None]),
        runs([-5, PIXELS + 5]),
        runs([0.5, PIXELS - 0.5]),
        runs('hello world'),
        runs('P?d0p'),  # cut off
        runs(5),
    ],
    'do not add up': [runs([100, 50, 10]), runs([0, PIXELS + 1]), runs('2')],
    'run lengths cover no pixel': [runs([PIXELS]), runs([PIXELS, 0])],
}


@pytest.mark.parametrize('outline', WHOLE, ids=str)
def test_masks_are_kept_as_they_are(outline):
    usable, reason = usable_outline(outline, SIZE)
    assert usable is outline and reason is None


@pytest.mark.parametrize('reason, outline', [(reason, o) for reason, found in BROKEN.items() for o in found], ids=str)
def test_what_is_no_mask_is_not_used(reason, outline):
    usable, found = usable_outline(outline, SIZE)
    assert usable is None and reason in found


@pytest.mark.parametrize('part', [[1, 1, 2, 2], SQUARE[:-1], [], [1, 'a'] * 3, [NAN] * 6, [90, 90, 99, 90, 99, 99]])
def test_the_other_polygons_of_an_object_are_used(part):
    """pycocotools would read all of them as boxes if the first has four numbers."""
    for outline in ([part, SQUARE], [SQUARE, part]):
        usable, reason = usable_outline(outline, SIZE)
        assert usable == [SQUARE] and reason


def test_run_lengths_are_read_as_pycocotools_writes_them():
    masks = pytest.importorskip('pycocotools.mask')
    rng = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.5, 0.98, 1.0):
        for height, width in rng.integers(1, 200, (8, 2)):
            mask = (rng.random((height, width)) < share).astype(np.uint8)
            columns = mask.T.ravel()
            changes = np.flatnonzero(np.diff(columns)) + 1
            lengths = [0] * int(columns[0]) + np.diff([0, *changes, columns.size]).tolist()
            assert read_runs(masks.encode(np.asfortranarray(mask))['counts'].decode()) == lengths
