"""`mmmim.load(RUN).predict`: what a trained model says of one picture or several."""

from pathlib import Path

import numpy as np
import pytest
import torch
from cls_harness import make_classifier_config
from det_harness import make_coco
from mmengine.config import Config
from PIL import Image
from predict_harness import keep_model, make_classifier, make_detector, make_segmentor
from seg_harness import make_masks

import mmmim
from mmmim.apis.frozen import Frozen
from mmmim.apis.predicting.tiles import Tiles, by_tiles, probabilities


@pytest.fixture(scope='module')
def classifier(tmp_path_factory, image_root):
    return mmmim.load(make_classifier(tmp_path_factory.mktemp('classifier'), image_root))


@pytest.fixture(scope='module')
def mask_data(tmp_path_factory):
    return make_masks(tmp_path_factory.mktemp('masks') / 'data', train=1, val=3)


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory, mask_data):
    return mmmim.load(make_segmentor(tmp_path_factory.mktemp('segmentor'), mask_data))


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    return make_coco(tmp_path_factory.mktemp('coco') / 'data', train=1, val=3)


@pytest.fixture(scope='module')
def detector(tmp_path_factory, coco):
    return mmmim.load(make_detector(tmp_path_factory.mktemp('detector'), coco))


def test_a_classifier_gives_names_and_probabilities(classifier, image_root):
    path = image_root / 'class0/000.jpg'
    found = classifier.predict(path)
    assert classifier.task == 'classification' and classifier.classes == ['cat', 'dog']
    assert sorted(found.names) == ['cat', 'dog'] and sum(found.probabilities) == pytest.approx(1, abs=1e-6)
    assert found.probabilities == sorted(found.probabilities, reverse=True)
    assert [classifier.classes[label] for label in found.labels] == found.names
    assert found.confidence == found.probabilities[0]
    # the same by hand: the central crop at 16 px, normalised, the network, softmax
    sample = classifier.prepare(path)
    model = classifier.model
    mean, std = (torch.tensor(values)[:, None, None] for values in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
    with torch.no_grad():
        logits = model.head(model.neck(model.backbone((sample['inputs'].float() - mean)[None] / std)))
    assert logits.softmax(1)[0].max().item() == pytest.approx(found.confidence, abs=1e-5)
    assert classifier.predict(path, top=1).names == found.names[:1]


def test_paths_pillow_images_and_arrays_say_the_same(classifier, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    of_path = classifier.predict(str(tmp_path / 'a.png'))
    several = classifier.predict([Image.fromarray(pixels), pixels, tmp_path / 'a.png'], batch_size=2)
    assert len(several) == 3
    for other in several:
        assert other.names == of_path.names
        assert other.probabilities == pytest.approx(of_path.probabilities, abs=1e-6)
    grey = classifier.predict(pixels[..., 0])
    assert classifier.predict(pixels[..., :1].repeat(3, 2)).probabilities == pytest.approx(grey.probabilities)


def test_a_second_model_does_not_disturb_the_first(classifier, segmentor, image_root):
    """Toolboxes keep one scope for the whole process."""
    path = image_root / 'class1/000.jpg'
    pixels = np.asarray(Image.open(path))
    before = classifier.predict(path)
    segmentor.predict(path)
    assert classifier.predict(path) == before
    segmentor.__dict__.pop('_of_arrays', None)
    classifier.predict(pixels)
    assert segmentor.predict(pixels).mask.shape == pixels.shape[:2]


def test_what_a_picture_may_not_be(classifier, tmp_path):
    (tmp_path / 'broken.jpg').write_text('no image')
    for wrong, message in (
        ([], 'the list is empty'),
        (np.zeros((4, 4, 3), np.float32), 'float32'),
        (3, 'iterable'),
        (tmp_path / 'broken.jpg', 'broken.jpg'),
        (tmp_path / 'absent.jpg', 'absent.jpg'),
    ):
        with pytest.raises((ValueError, TypeError, OSError), match=message):
            classifier.predict(wrong)
    pixels = np.zeros((4, 4, 3), np.uint8)
    for options, message in (
        (dict(top=0), 'top=0'),
        (dict(threshold=1.5), 'threshold=1.5'),
        (dict(batch_size=0), 'batch_size=0'),
        (dict(tile=8), 'tile=8 is for segmentation'),
    ):
        with pytest.raises(ValueError, match=message):
            classifier.predict(pixels, **options)


def test_several_labels_above_a_threshold(tmp_path, image_root):
    model = mmmim.load(make_classifier(tmp_path, image_root, multi_label=True))
    path = image_root / 'class0/001.jpg'
    everything = model.predict(path, threshold=0.0)
    assert model.multi_label and sorted(everything.names) == ['cat', 'dog']
    top, low = everything.probabilities
    assert model.predict(path, threshold=(top + low) / 2).names == everything.names[:1]
    assert model.predict(path, threshold=1.0).names == []
    assert everything.confidence == pytest.approx(min(max(p, 1 - p) for p in (top, low)))


def test_a_classifier_of_another_projects_network(tmp_path, image_root):
    """It embeds by what its head sees; what it does not have is told, and what would not be used is refused."""
    cfg = make_classifier_config(tmp_path / 'run', image_root)
    cfg.classes = ['cat', 'dog']
    cfg.model.pop('neck', None)
    cfg.model.backbone = dict(type='mmmim.TimmNetwork', arch='resnet10t')
    cfg.model.head.in_channels = 512
    folder = keep_model(cfg, tmp_path)
    model = mmmim.load(folder, layer='auto')
    path = image_root / 'class0/001.jpg'
    assert model.width == 512 and model.embed(path).shape == (1, 512)
    assert (model.depth, model.layer, model.pool) == (0, None, None)
    assert not hasattr(model, 'img_size') and not hasattr(model, 'features')
    for options in (dict(layer=1), dict(pool='mean'), dict(image_size=32), dict(prefix='student')):
        with pytest.raises(ValueError, match=f'{next(iter(options))}=.*TimmNetwork'):
            mmmim.load(folder, **options)


def test_a_segmentor_gives_a_mask_at_the_images_own_size(segmentor, mask_data):
    path = mask_data / 'images/validation/000.png'
    pixels = np.asarray(Image.open(path))
    found = segmentor.predict(path)
    assert found.mask.shape == (32, 32) and found.mask.dtype == np.uint8 and set(np.unique(found.mask)) <= {0, 1, 2}
    assert sum(found.areas.values()) == pytest.approx(1) and 1 / 3 < found.confidence <= 1
    for name, share in found.areas.items():
        assert share == (found.mask == segmentor.classes.index(name)).mean()
    wide = segmentor.predict(pixels[:20])
    assert wide.mask.shape == (20, 32)
    both = segmentor.predict([pixels, pixels[:20], pixels])  # sizes that no batch can have
    assert [each.mask.shape for each in both] == [(32, 32), (20, 32), (32, 32)]
    assert (both[2].mask == found.mask).mean() > 0.99


def test_an_image_that_fits_one_tile_is_taken_whole(segmentor, mask_data):
    path = mask_data / 'images/validation/001.png'
    whole = segmentor.predict(path)
    for tile in (32, 1000):
        found = segmentor.predict(path, tile=tile)
        assert (found.mask == whole.mask).all() and found.confidence == whole.confidence


def test_tiles_average_the_logits_of_each_tile(segmentor, mask_data):
    pixels = np.asarray(Image.open(mask_data / 'images/validation/002.png'))[:, :30]
    found = segmentor.predict(pixels, tile=20, overlap=8)
    sums, counts = np.zeros((3, 32, 30)), np.zeros((32, 30))
    for top in (0, 12):
        for left in (0, 10):
            sample = segmentor.prepare(np.ascontiguousarray(pixels[top : top + 20, left : left + 20]))
            with torch.no_grad():
                answer = segmentor.model.test_step(
                    dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
                )
            sums[:, top : top + 20, left : left + 20] += answer[0].seg_logits.data.numpy()
            counts[top : top + 20, left : left + 20] += 1
    assert (found.mask == (sums / counts).argmax(0)).mean() > 0.999
    with pytest.raises(ValueError, match='overlap=20 must be'):
        segmentor.predict(pixels, tile=20, overlap=20)
    with pytest.raises(ValueError, match='give tile'):
        segmentor.predict(pixels, overlap=2)


@pytest.mark.parametrize(
    ('height', 'width', 'size', 'overlap'), [(7, 23, 5, 2), (40, 8, 8, 0), (9, 9, 4, 3), (3, 50, 6, 1)]
)
def test_of_a_row_of_tiles_at_a_time_the_same_comes_as_of_the_whole(height, width, size, overlap):
    """Logits that depend on the pixel and on where it lies in its tile."""
    image = np.random.default_rng(1).normal(size=(height, width, 4))

    def answer(tile):
        place = np.arange(tile.shape[0] * tile.shape[1]).reshape(tile.shape[:2]) % 7
        return torch.from_numpy((tile * place[..., None]).transpose(2, 0, 1))

    tiles = Tiles.of(size, overlap)
    sums, counts = torch.zeros(4, height, width, dtype=torch.float64), torch.zeros(height, width)
    for top in tiles.starts(height):
        for left in tiles.starts(width):
            part = answer(image[top : top + size, left : left + size])
            sums[:, top : top + size, left : left + size] += part
            counts[top : top + size, left : left + size] += 1
    assert counts.min() >= 1
    mask, confidence = by_tiles(answer, image, tiles)
    expected, sure = probabilities(sums / counts)
    assert (mask == expected.numpy()).all() and confidence == pytest.approx(sure.mean().item(), abs=1e-5)


def test_a_detector_gives_boxes_scores_and_masks(detector, coco):
    found = detector.predict(coco / 'val2017/000.png', threshold=0.0)
    assert detector.task == 'detection' and len(found.boxes) == len(found.scores) == len(found.names) > 0
    assert found.masks.shape == (len(found.boxes), 48, 48) and found.masks.dtype == bool
    assert (np.diff(found.scores) <= 0).all() and found.confidence == found.scores[0]
    assert (found.boxes[:, :2] <= found.boxes[:, 2:]).all() and found.boxes.min() >= 0 and found.boxes.max() <= 48
    some = detector.predict(coco / 'val2017/000.png', threshold=float(found.scores[3]))
    assert 4 <= len(some.boxes) < len(found.boxes) and some.masks.shape[0] == len(some.boxes)
    none = detector.predict(coco / 'val2017/000.png', threshold=1.0)
    assert len(none.boxes) == 0 and none.names == [] and none.confidence == found.confidence


def test_a_trained_model_also_embeds(classifier, segmentor, image_root):
    path = image_root / 'class0/000.jpg'
    for model in (classifier, segmentor):
        assert model.embed([path, path]).shape == (2, 32) and model.width == 32
    with pytest.raises(AttributeError, match='no attribute'):
        _ = classifier.nothing


def test_a_fine_tuned_folder_is_also_features_for_every_other_call(classifier, image_root, tmp_path):
    """Its model.pth has no config inside: model.py beside it is taken."""
    folder = Path(classifier.trained.checkpoint).parent
    found = mmmim.embed(str(folder), str(image_root / 'class0'), str(tmp_path / 'x.npy'), num_workers=0)
    alone = classifier.embed([image_root / 'class0' / name for name in found.names[:3]])
    assert len(found.names) == 32 and found.features[:3] == pytest.approx(alone, abs=1e-5)


def test_a_classifier_with_a_backbone_of_another_project(tmp_path, image_root):
    model = mmmim.load(
        make_classifier(
            tmp_path,
            image_root,
            **{
                'model.backbone': dict(_delete_=True, type='ResNet', depth=18, base_channels=8, stem_channels=8),
                'model.neck': dict(_delete_=True, type='GlobalAveragePooling'),
                'model.head.in_channels': 64,
                'model.head.num_classes': 2,
            },
        )
    )
    paths = [image_root / f'class0/00{i}.jpg' for i in range(3)]
    found = [each.probabilities for each in model.predict(paths)]
    features = torch.from_numpy(model.embed(paths, batch_size=2))
    assert features.shape == (3, 64)
    logits = model.model.head.fc(features).detach()
    assert found == [pytest.approx(sorted(row, reverse=True), abs=1e-5) for row in logits.softmax(1).tolist()]


def test_a_file_with_a_config_of_a_task_predicts_and_one_alone_is_a_frozen_network(classifier, image_root, tmp_path):
    checkpoint, config = classifier.trained.checkpoint, classifier.trained.config
    path = image_root / 'class0/000.jpg'
    assert mmmim.load(checkpoint, config=config).predict(path) == classifier.predict(path)
    alone = tmp_path / 'x.pth'
    alone.write_bytes(open(checkpoint, 'rb').read())
    with pytest.raises(ValueError, match='config'):  # nothing tells which encoder of random sizes it is
        mmmim.load(alone)
    assert not isinstance(classifier, Frozen)


def test_weights_of_another_model_are_refused_when_it_predicts(classifier, image_root, tmp_path):
    torch.save(dict(state_dict=torch.nn.Linear(2, 2).state_dict(), meta={}), tmp_path / 'x.pth')
    with pytest.raises(RuntimeError, match='is no checkpoint of the config'):
        mmmim.load(tmp_path / 'x.pth', config=classifier.trained.config).predict(image_root / 'class0/000.jpg')


def test_names_of_classes_are_the_checkpoints_where_the_config_has_none(tmp_path, image_root):
    folder = make_classifier(tmp_path, image_root)
    config = Config.fromfile(folder / 'model.py')
    config.pop('classes')
    config.dump(folder / 'model.py')
    assert mmmim.load(folder).classes == ['0', '1']
    saved = torch.load(folder / 'model.pth')
    torch.save(dict(saved, meta=dict(dataset_meta=dict(classes=('a', 'b')))), folder / 'model.pth')
    assert mmmim.load(folder).classes == ['a', 'b']
