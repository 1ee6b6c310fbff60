"""WFLW's files, and what crops and mirrors do to a face and its points."""

import functools
import runpy

import numpy as np
import pytest
import torch
from harness import DATA, ROOT
from mmengine.dataset import Compose
from PIL import Image

from mmmim.datasets import (
    WFLW,
    CenterCrop,
    FaceCrop,
    LoadImage,
    MirrorFace,
    OccludeFace,
    PackImage,
    PackLandmarks,
    RandomFlip,
    RandomResizedCrop,
    SeededDataset,
    mim_collate,
)
from mmmim.datasets.landmark_transforms import apply_matrix
from mmmim.datasets.samplers import SampleIndex

FACES = runpy.run_path(str(ROOT / 'tools/datasets/make_faces.py'))
TEST = FACES['LIST'].format('test')


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp('faces')
    FACES['make_faces'](folder, train=1, test=6, size=96, seed=1)
    return folder


def lines(faces):
    return (faces / TEST).read_text().splitlines()


def write(folder, rows):
    """A data set of those lines; its images are one pixel each."""
    (folder / 'WFLW_images/test').mkdir(parents=True, exist_ok=True)
    for i in range(6):
        Image.new('RGB', (1, 1)).save(folder / f'WFLW_images/test/{i:05d}.jpg')
    (folder / 'list.txt').write_text('\n'.join(rows))
    return WFLW(str(folder), 'list.txt')


# ------------------------------------------------------------------------------------------------------------ files


def test_a_line_of_207_fields_is_a_face_with_attributes(faces):
    data = WFLW(str(faces), TEST)
    assert len(data) == 6 and len(lines(faces)[2].split()) == 207
    face, (_, points, attributes) = data.get_data_info(2), FACES['draw_face'](1, 'test', 2, 96)
    assert np.abs(face['keypoints'] - points).max() < 1e-6 and face['keypoints'].dtype == np.float64
    assert face['attributes'].tolist() == attributes.tolist()
    assert face['img_path'] == str(faces / 'WFLW_images/test/00002.jpg')
    low, high = face['bbox'][:2], face['bbox'][2:]
    assert (low <= points.min(axis=0)).all() and (high >= points.max(axis=0)).all()
    assert data.metainfo['norm_pair'] == (60, 72) and data.metainfo['attributes'][3] == 'make-up'


def test_a_line_of_201_fields_has_no_attributes(faces, tmp_path):
    plain = [' '.join([*row.split()[:200], row.split()[-1]]) for row in lines(faces)]
    data = write(tmp_path, plain)
    assert len(data) == 6 and data.get_data_info(0)['attributes'] is None
    assert data.get_data_info(5)['keypoints'].tolist() == WFLW(str(faces), TEST).get_data_info(5)['keypoints'].tolist()


def changed(row, place, value):
    fields = row.split()
    fields[place] = value
    return ' '.join(fields)


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda row: row + ' more', ['line 3', '208 fields', '207', '201']),
        (lambda row: ' '.join(row.split()[1:]), ['line 3', '206 fields']),
        (lambda row: ' '.join([*row.split()[:200], row.split()[-1]]), ['line 3', '201 fields', 'before it have 207']),
        (lambda row: changed(row, 7, 'seven'), ['line 3', 'seven']),
        (lambda row: changed(row, 7, 'nan'), ['line 3', 'field 8 is nan']),
        (lambda row: changed(row, 196, '500'), ['line 3', 'the box is [500.0']),
        (lambda row: changed(row, 203, '2'), ['line 3', 'each is 0 or 1']),
    ],
    ids=['too many', 'too few', 'mixed', 'no number', 'not finite', 'box', 'attribute'],
)
def test_a_bad_line_is_named(faces, tmp_path, change, words):
    rows = lines(faces)
    with pytest.raises(ValueError) as error:
        write(tmp_path, [*rows[:2], change(rows[2]), *rows[3:]])
    assert 'list.txt' in str(error.value) and all(word in str(error.value) for word in words)


def test_missing_files_are_named(faces, tmp_path):
    with pytest.raises(FileNotFoundError, match='line 4: test/nobody.jpg'):
        write(tmp_path, [*lines(faces)[:3], changed(lines(faces)[3], -1, 'test/nobody.jpg')])
    with pytest.raises(FileNotFoundError, match='dataset.ann_file'):
        WFLW(str(faces), 'nothing.txt')
    with pytest.raises(FileNotFoundError, match='data_root'):
        WFLW(str(faces / 'nowhere'), TEST)
    with pytest.raises(ValueError, match='is empty'):
        write(tmp_path, [''])


def test_the_real_sample_is_read():
    folder = DATA / 'wflw_sample'
    if not folder.is_dir():
        pytest.skip(f'no faces at {folder}; set MMMIM_DATA')
    data = WFLW(str(folder), 'list_98pt_rect.txt', dict(img_path='images'), pipeline=[LoadImage(), FaceCrop(64)])
    assert len(data) == 4 and len({data.get_data_info(i)['img_path'] for i in range(4)}) == 2
    for face in (data[i] for i in range(4)):  # the boxes there are the points' extent
        assert face['crop_points'].min() == pytest.approx(0.1 * 64, abs=13)
        assert np.ptp(face['crop_points'], axis=0).max() == pytest.approx(0.8 * 64, abs=0.5)


# -------------------------------------------------------------------------------------------------------- transforms


opened = functools.lru_cache(WFLW)


def load(faces, *steps, index=0, seed=0):
    face = opened(str(faces), TEST).get_data_info(index)
    np.random.seed(seed)
    return Compose([LoadImage(), *steps])(face)


RANDOM = dict(shift=0.1, rotate=0.6, scale=0.2)


@pytest.mark.parametrize('size', [40, 96, 200])
def test_points_come_back_from_a_crop(faces, size):
    for seed in range(5):
        face = load(faces, FaceCrop(size, **RANDOM), MirrorFace(0), seed=seed)
        back = apply_matrix(np.linalg.inv(face['matrix']), face['crop_points'])
        assert np.abs(back - face['keypoints']).max() < 1e-4


def test_a_crop_without_randomness_centres_the_box(faces):
    face = load(faces, FaceCrop(101, grow=2))
    low, high = face['bbox'][:2], face['bbox'][2:]
    assert apply_matrix(face['matrix'], (low + high)[None] / 2)[0] == pytest.approx([50, 50])
    assert np.ptp(apply_matrix(face['matrix'], np.stack([low, high])), axis=0).max() == pytest.approx(101 / 2)


BOX = np.array([20.0, 30, 50, 70])


def test_the_draws_keep_their_ranges_and_reach_their_ends():
    crop, image, box, found = FaceCrop(100, shift=0.05, rotate=0.174, scale=0.1), np.zeros((9, 9, 3), np.uint8), BOX, []
    np.random.seed(0)
    for _ in range(300):
        matrix = crop(LoadImage()(dict(img=image, bbox=box)))['matrix']
        shift = apply_matrix(matrix, (box[:2] + box[2:])[None] / 2)[0] / 100 - 99 / 200
        side = (box[2:] - box[:2]).max() * np.hypot(*matrix[:2, 0]) / 100
        found.append([*shift, np.arctan2(matrix[1, 0], matrix[0, 0]), side - 0.8])
    ends = np.array([0.05, 0.05, 0.174, 0.1])
    assert (np.abs(found).max(axis=0) <= ends + 1e-9).all()
    assert (np.max(found, axis=0) > 0.95 * ends).all() and (np.min(found, axis=0) < -0.95 * ends).all()


@pytest.mark.parametrize('side, size', [(60, 90), (240, 60), (250, 77)])
def test_the_image_lies_where_its_points_do(side, size):
    """On a ramp each pixel says where it is, also where the image is reduced before it is turned."""
    rows, columns = np.mgrid[:side, :side]
    image = np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8)
    np.random.seed(3)
    box = np.array([0.3 * side, 0.25 * side, 0.7 * side, 0.7 * side])
    face = FaceCrop(size, grow=1.1, shift=0.05, rotate=0.3, scale=0.1)(LoadImage()(dict(img=image, bbox=box)))
    places = np.stack(np.mgrid[:size, :size][::-1], axis=-1).reshape(-1, 2)
    expected = apply_matrix(np.linalg.inv(face['matrix']), places).reshape(size, size, 2)
    inside = ((expected > 4) & (expected < side - 5)).all(axis=-1)
    difference = np.abs(face['img'][..., :2].astype(float) - expected)[inside]
    assert inside.mean() > 0.95 and difference.max() < 1.1  # rounded to whole numbers, once or twice
    assert np.abs((face['img'][..., :2] - expected)[inside].mean(axis=0)).max() < 0.1


def test_what_lies_outside_of_the_file_is_black_and_an_image_without_a_box_is_a_face():
    white = np.full((30, 40, 3), 255, np.uint8)
    outside = FaceCrop(16)(LoadImage()(dict(img=white, bbox=np.array([100, 100, 120, 120]))))
    assert outside['img'].max() == 0
    half = FaceCrop(16, grow=1)(LoadImage()(dict(img=white, bbox=np.array([-20.5, -0.5, 19.5, 39.5]))))['img']
    assert half[2:9, 10:].min() == 255 and half[:, :7].max() == 0
    whole = FaceCrop(40, grow=3)(LoadImage()(dict(img=white)))
    assert np.allclose(whole['matrix'], [[1, 0, 0], [0, 1, 5], [0, 0, 1]]) and 'crop_points' not in whole
    assert whole['img'][5:35].min() == 255 and whole['img'][:4].max() == 0


def test_mirroring_twice_changes_nothing(faces):
    plain, twice = (load(faces, FaceCrop(64), *steps) for steps in ([], [MirrorFace(1), MirrorFace(1)]))
    assert np.array_equal(plain['img'], twice['img']) and np.allclose(plain['crop_points'], twice['crop_points'])
    assert np.allclose(plain['matrix'], twice['matrix']) and not twice['flipped']


def test_a_mirrored_face_is_the_face_that_would_be_drawn_mirrored(faces):
    shape = FACES['draw_shape'](np.random.default_rng(0), True, True)
    other = dict(shape, turn=-shape['turn'], gaze=-shape['gaze'])
    points, mirrored = (30 * FACES['place_points'](s) + [47.5, 40] for s in (shape, other))
    images = [FACES['paint'](p, 96, np.random.default_rng(1), True) for p in (points, mirrored)]
    found = MirrorFace(1)(dict(img=images[0], crop_points=points, matrix=np.eye(3)))
    assert np.abs(found['crop_points'] - mirrored).max() < 1e-9
    assert (np.abs(found['img'].astype(int) - images[1]) > 40).any(axis=-1).mean() < 0.02  # antialiased edges differ
    assert (np.abs(images[0].astype(int) - images[1]) > 40).any(axis=-1).mean() > 0.04  # of a face that is turned
    unchanged = MirrorFace(0)(dict(img=images[0], crop_points=points))
    assert unchanged['img'] is images[0] and unchanged['crop_points'] is points


def test_a_hidden_part_is_a_black_box_of_a_size_in_range():
    white = np.full((100, 100, 3), 255, np.uint8)
    np.random.seed(0)
    shares = [(OccludeFace(1, (0.1, 0.4))(dict(img=white))['img'] == 0).all(axis=-1).mean() for _ in range(200)]
    assert white.min() == 255 and 0 <= min(shares) and 0.09 < max(shares) <= 0.17
    assert OccludeFace(0)(dict(img=white))['img'] is white


@pytest.mark.parametrize(
    'build, words',
    [
        (lambda: FaceCrop((32, 48)), 'square'),
        (lambda: FaceCrop(32, grow=0), 'grow=0'),
        (lambda: FaceCrop(32, scale=0.8), 'scale below'),
        (lambda: FaceCrop(32, shift=-1), 'negative'),
        (lambda: MirrorFace(2), 'prob=2'),
        (lambda: MirrorFace(0.5, [1, 2, 0]), 'flip_indices'),
        (lambda: MirrorFace(1, [1, 0])(dict(img=np.zeros((4, 4, 3)), crop_points=np.zeros((98, 2)))), '98 points'),
        (lambda: OccludeFace(0.5, (0.4, 0.1)), 'ordered'),
    ],
)
def test_options_that_make_no_sense_are_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_a_packed_face_has_what_model_and_metric_read(faces):
    face = load(faces, FaceCrop(32, **RANDOM), PackLandmarks(), index=3)
    sample = face['data_samples']
    assert face['inputs'].shape == (3, 32, 32) and face['inputs'].dtype == torch.uint8
    back = apply_matrix(np.linalg.inv(sample.matrix), sample.crop_points.numpy())
    assert np.abs(back - sample.gt_points.numpy()).max() < 1e-4 and sample.gt_points.dtype == torch.float64
    assert sample.sample_idx == 3 and sample.attributes == tuple(FACES['draw_face'](1, 'test', 3, 96)[2])
    without = Compose([LoadImage(), FaceCrop(32), PackLandmarks()])(
        dict(img_path=str(faces / 'WFLW_images/test/00000.jpg'))
    )
    assert 'crop_points' not in without['data_samples'] and without['data_samples'].attributes is None


def test_crops_of_a_crop_need_no_points(faces):
    """As pre-training has them."""
    face = load(faces, FaceCrop(64), CenterCrop(32, ratio=0.5), PackImage())
    crop = load(faces, FaceCrop(64))['img']
    assert torch.equal(face['inputs'], torch.from_numpy(crop[16:48, 16:48].transpose(2, 0, 1).copy()))


def test_what_is_drawn_depends_on_the_seed_of_the_sample_alone(faces):
    steps = [LoadImage(), FaceCrop(32, **RANDOM), MirrorFace(), OccludeFace(), PackLandmarks()]
    data = SeededDataset(WFLW(str(faces), TEST, pipeline=steps))
    first, _, again, other = (data[SampleIndex(0, seed)] for seed in (5, 6, 5, 7))
    assert torch.equal(first['inputs'], again['inputs'])
    assert torch.equal(first['data_samples'].crop_points, again['data_samples'].crop_points)
    assert not torch.equal(first['inputs'], other['inputs'])
    assert mim_collate([first, other])['inputs'].shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    'steps',
    [
        [FaceCrop(64), RandomFlip(1.0)],
        [FaceCrop(64), CenterCrop(32)],
        [CenterCrop(50)],
        [FaceCrop(64), RandomResizedCrop(64)],
    ],
    ids=['mirror', 'smaller', 'no face', 'another crop'],
)
def test_points_are_refused_where_the_image_moved_without_them(faces, steps):
    with pytest.raises(ValueError, match='does not move points: use FaceCrop'):
        load(faces, *steps, PackLandmarks())
