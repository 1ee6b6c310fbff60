"""Robustness metrics on cases computed by hand, and the data sets that they are for."""

from importlib.resources import files

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from PIL import Image

from mmmim.datasets import ImageNetC, ImageNetVariant, LoadImage, PackImage
from mmmim.datasets.imagenet_variants import CORRUPTION_GROUPS, CORRUPTIONS, read_classes
from mmmim.evaluation.robustness import ALEXNET_ERROR, MeanCorruptionError, SubsetAccuracy
from mmmim.registry import METRICS
from mmmim.structures import DataSample

CLASSES = ('n01', 'n02', 'n03', 'n04')
PIPELINE = [LoadImage(), PackImage()]


def sample(score, label, path='x.jpg'):
    """What mmpretrain's classifiers give: the label as a tensor of one."""
    return DataSample(
        metainfo=dict(img_path=path), pred_score=torch.tensor(score, dtype=torch.float), gt_label=torch.tensor([label])
    )


def evaluate(metric, samples, meta=None):
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = meta
    for start in range(0, len(samples), 7):
        evaluator.process(data_samples=samples[start : start + 7])
    return evaluator.evaluate(len(samples))


def corrupted(name, severity, wrong, total):
    """Images of one pair, so many of which are classified wrongly."""
    return [
        sample([0, 1] if i < wrong else [1, 0], 0, f'/data/{name}/{severity}/n01440764/{i}.JPEG') for i in range(total)
    ]


# ---------------------------------------------------------------------------------------------------- ImageNet-C


def test_alexnet_itself_has_100_percent():
    # 15 x 5 pairs; an error of AlexNet's own mean in every severity makes each CE 100, to the rounding of counts
    samples = [
        image
        for name in CORRUPTIONS
        for severity in range(1, 6)
        for image in corrupted(name, severity, round(4 * ALEXNET_ERROR[name]), 400)
    ]
    result = evaluate(MeanCorruptionError(), samples)
    assert result['imagenet-c/mCE'] == pytest.approx(100, abs=0.1)
    assert result['imagenet-c/top1'] == pytest.approx(100 - np.mean(list(ALEXNET_ERROR.values())), abs=0.1)


def test_mean_corruption_error_by_hand():
    """Errors of 10, 20, 30, 40 and 50% in the severities are 30%; fog has none, snow is wrong throughout."""
    wrong = {name: (1, 2, 3, 4, 5) for name in CORRUPTIONS}
    wrong['fog'], wrong['snow'] = (0,) * 5, (10,) * 5
    samples = [
        image
        for name in CORRUPTIONS
        for severity in range(1, 6)
        for image in corrupted(name, severity, wrong[name][severity - 1], 10)
    ]
    order = np.random.default_rng(0).permutation(len(samples))
    result = evaluate(MeanCorruptionError(), [samples[i] for i in order])
    assert result['imagenet-c/error_gaussian_noise'] == pytest.approx(30)
    assert result['imagenet-c/CE_gaussian_noise'] == pytest.approx(100 * 30 / 88.6428)
    assert result['imagenet-c/CE_fog'] == 0
    assert result['imagenet-c/CE_snow'] == pytest.approx(100 * 100 / 86.6816)
    others = sum(30 / error for name, error in ALEXNET_ERROR.items() if name not in ('fog', 'snow'))
    assert result['imagenet-c/mCE'] == pytest.approx(100 * (others + 100 / 86.6816) / 15)
    assert result['imagenet-c/top1'] == pytest.approx(100 - (13 * 30 + 0 + 100) / 15)


def test_severities_count_alike_however_many_images_they_have():
    samples = corrupted('frost', 1, 0, 90) + corrupted('frost', 5, 10, 10)
    result = evaluate(MeanCorruptionError(), samples)
    assert result['imagenet-c/error_frost'] == 50 and result['imagenet-c/top1'] == 50


def test_no_mce_without_all_pairs():
    result = evaluate(MeanCorruptionError(), corrupted('contrast', 2, 3, 12))
    assert result == {
        'imagenet-c/error_contrast': 25,
        'imagenet-c/CE_contrast': pytest.approx(2500 / 85.3204),
        'imagenet-c/top1': 75,
    }


@pytest.mark.parametrize(
    'path', ['fog/n01440764/1.JPEG', '/data/fog/6/n01440764/1.JPEG', '/data/mist/1/n01440764/1.JPEG', '1.JPEG']
)
def test_paths_of_another_data_set_are_refused(path):
    with pytest.raises(ValueError, match='<corruption>/<severity>/<class>/<file>'):
        evaluate(MeanCorruptionError(), [sample([1, 0], 0, path)])


def test_published_error_of_alexnet():
    # the paper's Table 1 rounds them
    rounded = dict(
        gaussian_noise=88.6,
        shot_noise=89.4,
        impulse_noise=92.3,
        defocus_blur=82.0,
        glass_blur=82.6,
        motion_blur=78.6,
        zoom_blur=79.8,
        snow=86.7,
        frost=82.7,
        fog=81.9,
        brightness=56.5,
        contrast=85.3,
        elastic_transform=64.6,
        pixelate=71.8,
        jpeg_compression=60.7,
    )
    assert ALEXNET_ERROR == pytest.approx(rounded, abs=0.0501)
    assert set(CORRUPTIONS) == set(ALEXNET_ERROR) and len(CORRUPTIONS) == 15


def fill(folder, classes, count=1, suffix='.JPEG'):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new('RGB', (4, 4)).save(folder / name / f'{name}_{i}{suffix}', format='PNG')


@pytest.mark.parametrize('grouped', [False, True])
def test_imagenet_c_as_published(tmp_path, grouped):
    for group, names in CORRUPTION_GROUPS.items():
        for name in names:
            for severity in range(1, 6):
                fill(tmp_path / (group if grouped else '') / name / str(severity), CLASSES[:2])
    dataset = ImageNetC(str(tmp_path), num_folders=2, classes=CLASSES, pipeline=PIPELINE)
    assert len(dataset) == 15 * 5 * 2 and sorted(set(dataset.get_labels().tolist())) == [0, 1]
    samples = []
    for item in (dataset[i] for i in range(len(dataset))):
        label = item['data_samples'].gt_label
        assert item['data_samples'].img_path.endswith(f'{CLASSES[label]}_0.JPEG')
        samples.append(sample([1, 0], label, item['data_samples'].img_path))  # n01 is always right, n02 never
    result = evaluate(MeanCorruptionError(), samples, dataset.metainfo)
    assert all(result[f'imagenet-c/error_{name}'] == 50 for name in CORRUPTIONS)
    assert result['imagenet-c/mCE'] == pytest.approx(np.mean([5000 / error for error in ALEXNET_ERROR.values()]))


def test_what_is_missing_of_imagenet_c_is_named(tmp_path):
    fill(tmp_path / 'fog/3', CLASSES[:2])
    part = ImageNetC(str(tmp_path), ['fog'], [3], num_folders=2, classes=CLASSES)
    assert len(part) == 2
    with pytest.raises(FileNotFoundError, match='neither fog/4/ nor weather/fog/4/.*dataset.severities'):
        ImageNetC(str(tmp_path), ['fog'], [3, 4], num_folders=2, classes=CLASSES)
    with pytest.raises(ValueError, match='has 2 folders.*Expected: 1000 folders'):
        ImageNetC(str(tmp_path), ['fog'], [3], classes=CLASSES)
    with pytest.raises(ValueError, match="\\['mist'\\].*gaussian_noise, shot_noise"):
        ImageNetC(str(tmp_path), ['mist'])
    with pytest.raises(ValueError, match='each from 1 to 5'):
        ImageNetC(str(tmp_path), ['fog'], [0])


# -------------------------------------------------------------------------------------- ImageNet-A, -R, -Sketch


def test_subset_accuracy_by_hand():
    samples = [
        sample([9, 3, 0, 1], 1),  # 0 and 2 are not in the subset: 1 beats 3
        sample([9, 3, 0, 4], 1),  # 3 beats 1
        sample([0, 3, 0, 9], 3),  # right either way
        sample([0, 1, 9, 2], 3),
    ]
    assert evaluate(SubsetAccuracy(prefix='imagenet-a'), samples, dict(subset=[1, 3])) == {
        'imagenet-a/top1': 75,
        'imagenet-a/top1_all_classes': 25,
    }
    assert evaluate(SubsetAccuracy(subset=[3, 1]), samples)['subset/top1'] == 75


def test_a_subset_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match='knows no subset'):
        evaluate(SubsetAccuracy(), [sample([1, 0], 0)], dict(classes=CLASSES))
    with pytest.raises(ValueError, match='from 0 to 7, but the classifier has 2 classes'):
        evaluate(SubsetAccuracy([0, 7]), [sample([1, 0], 0)])
    with pytest.raises(ValueError, match='label 1, which is not in the subset'):
        evaluate(SubsetAccuracy([0]), [sample([1, 0], 1)])


def test_metrics_are_registered():
    for name in ('MeanCorruptionError', 'SubsetAccuracy'):
        assert METRICS.build(dict(type=f'mmmim.{name}')).prefix in ('imagenet-c', 'subset')


def test_labels_are_those_of_the_classifier(tmp_path):
    fill(tmp_path / 'a', ['n02', 'n04'], count=2, suffix='.jpg')
    dataset = ImageNetVariant(str(tmp_path / 'a'), num_folders=2, classes=CLASSES)
    assert dataset.get_labels().tolist() == [1, 1, 3, 3]
    assert dataset.metainfo['subset'] == [1, 3] and dataset.metainfo['classes'] == CLASSES
    with pytest.raises(ValueError, match='has 2 folders. Expected: 200 folders'):
        ImageNetVariant(str(tmp_path / 'a'), num_folders=200, classes=CLASSES)
    fill(tmp_path / 'a', ['cats'])
    with pytest.raises(ValueError, match="\\['cats'\\] are no classes of the classifier"):
        ImageNetVariant(str(tmp_path / 'a'), classes=CLASSES)
    with pytest.raises(ValueError, match='has 1 folders'):
        ImageNetVariant(str(tmp_path), classes=CLASSES)


def test_the_classes_of_a_classifier(tmp_path):
    fill(tmp_path / 'train', ['b', 'a', 'c'])
    (tmp_path / 'synsets.txt').write_text('b bee\na ant\n\n')
    assert read_classes(str(tmp_path / 'train')) == ('a', 'b', 'c')
    assert read_classes(str(tmp_path / 'synsets.txt')) == ('b', 'a')
    assert read_classes(['z', 'y']) == ('z', 'y')
    default = read_classes()
    assert len(default) == 1000 and list(default) == sorted(default) and default[0] == 'n01440764'
    with pytest.raises(FileNotFoundError, match='neither a folder'):
        read_classes(str(tmp_path / 'nothing'))
    with pytest.raises(ValueError, match='each class once'):
        read_classes(['a', 'a'])


@pytest.mark.parametrize('name', ['imagenet_a', 'imagenet_r'])
def test_published_subsets_get_their_published_indices(name, tmp_path):
    """The indices that timm has of these sets, from nothing but the folders' names."""
    wnids, indices = (
        files('timm.data').joinpath(f'_info/{name}_{kind}.txt').read_text().split() for kind in ('synsets', 'indices')
    )
    fill(tmp_path, wnids, suffix='.jpg')
    dataset = ImageNetVariant(str(tmp_path), num_folders=200)
    assert dataset.metainfo['subset'] == sorted(map(int, indices)) and len(indices) == 200
