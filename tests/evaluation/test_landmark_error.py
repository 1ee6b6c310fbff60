"""Errors of landmarks, against numbers computed by hand."""

import numpy as np
import pytest
import torch

from mmmim.evaluation import LandmarkError
from mmmim.evaluation.landmarks import normalized_error

META = dict(norm_pair=(0, 1), attributes=('pose', 'blur'))
TRUTH = torch.tensor([[0.0, 0.0], [10.0, 0.0], [5.0, 5.0], [5.0, 9.0]])  # the first two are 10 apart


def face(*distances, attributes=None):
    """A face whose points are predicted so far away."""
    moved = TRUTH + torch.tensor([[0.6, 0.8]]) * torch.tensor(distances)[:, None]  # a direction of length 1
    return dict(pred_points=moved, gt_points=TRUTH, attributes=attributes, img_path='a.jpg')


def measure(faces, meta=META, **options):
    metric = LandmarkError(**options)
    metric.dataset_meta = meta
    metric.process(None, faces[:1])
    metric.process(None, faces[1:])
    return metric.evaluate(len(faces))


def test_numbers_by_hand():
    # errors: (1 + 0 + 1 + 0) / 4 / 10 = 5%, 2 / 10 = 20%, 0.4 / 10 = 4%
    faces = [
        face(1, 0, 1, 0, attributes=(1, 0)),
        face(2, 2, 2, 2, attributes=(1, 1)),
        face(0.4, 0.4, 0.4, 0.4, attributes=(0, 0)),
    ]
    assert measure(faces) == pytest.approx(
        {
            'landmarks/NME': 29 / 3,
            'landmarks/FR_10': 100 / 3,
            'landmarks/AUC_10': 100 * (0.05 + 0 + 0.06) / 3 / 0.1,
            'landmarks/NME_pose': 12.5,
            'landmarks/NME_blur': 20.0,
        },
        abs=1e-5,
    )


def test_the_area_is_that_of_the_sampled_curve():
    errors = np.random.default_rng(0).gamma(2, 0.03, 500)
    found = measure([face(*[10 * float(error)] * 4) for error in errors])
    grid = np.linspace(0, 0.1, 20001)
    curve = (errors[:, None] <= grid).mean(axis=0)
    assert found['landmarks/AUC_10'] == pytest.approx(100 * np.trapezoid(curve, grid) / 0.1, abs=0.01)
    assert found['landmarks/FR_10'] == pytest.approx(100 * (1 - curve[-1]))


def test_the_threshold_is_an_option_and_at_it_a_face_has_not_failed():
    found = measure([face(1, 1, 1, 1), face(3, 3, 3, 3)], threshold=0.2)
    assert found['landmarks/FR_20'] == 50 and found['landmarks/AUC_20'] == pytest.approx(25)
    exact = dict(face(0, 0, 0, 0), pred_points=TRUTH + torch.tensor([2.0, 0.0]))
    assert measure([exact, face(0, 0, 0, 0)], threshold=0.2)['landmarks/FR_20'] == 0


def test_without_attributes_their_columns_are_absent_and_so_are_those_of_no_face():
    plain = measure([face(1, 1, 1, 1), face(2, 2, 2, 2)])
    assert set(plain) == {'landmarks/NME', 'landmarks/FR_10', 'landmarks/AUC_10'}
    assert 'landmarks/NME_blur' not in measure([face(1, 1, 1, 1, attributes=(1, 0))] * 2)


def test_the_error_does_not_depend_on_the_scale_and_takes_outer_eye_corners():
    truth = np.random.default_rng(0).random((98, 2))
    predicted = truth + 0.01 * np.random.default_rng(1).standard_normal((98, 2))
    expected = np.mean([np.hypot(*(p - t)) for p, t in zip(predicted, truth)]) / np.hypot(*(truth[60] - truth[72]))
    assert normalized_error(predicted, truth, (60, 72)) == pytest.approx(expected, rel=1e-12)
    assert normalized_error(7 * predicted, 7 * truth, (60, 72)) == pytest.approx(expected, rel=1e-12)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match='threshold=0'):
        LandmarkError(0)
    with pytest.raises(ValueError, match='a.jpg.*no predicted or no true points'):
        measure([dict(pred_points=TRUTH, img_path='a.jpg'), face(1, 1, 1, 1)])
    with pytest.raises(ValueError, match='a.jpg: the points'):
        measure([dict(pred_points=TRUTH, gt_points=torch.zeros(4, 2), img_path='a.jpg')])
    with pytest.raises(ValueError, match='a.jpg.*not finite'):
        measure([dict(pred_points=TRUTH * float('nan'), gt_points=TRUTH, img_path='a.jpg')])
    with pytest.raises(ValueError, match='norm_pair'):
        measure([face(1, 1, 1, 1)] * 2, meta={})
