"""Predictions of models of other toolboxes, drawn over images."""

import numpy as np
import pytest
import torch
from cls_harness import make_classifier_config
from harness import ROOT, python, save_config
from mmengine.config import Config
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from PIL import Image
from torch import nn

from mmmim.datasets.io.image_io import ImageSource
from mmmim.registry import MODELS
from mmmim.visualization.overlay import color_of
from mmmim.visualization.panel import Panel
from mmmim.visualization.predictions import build_trained, prediction_panel


class _Model(nn.Module):
    """Says the same about every image."""

    def __init__(self, **answer):
        super().__init__()
        self.answer = answer

    def test_step(self, data):
        assert not self.training and not torch.is_grad_enabled()
        return [BaseDataElement(**{key: value.clone() for key, value in self.answer.items()}) for _ in data['inputs']]


@pytest.fixture
def cfg():
    pipeline = [
        dict(type='mmmim.LoadImage'),
        dict(type='mmmim.LoadAnnotations'),
        dict(type='mmmim.Resize', size=16),
        dict(type='mmmim.PackImage'),
    ]
    return Config(dict(test_dataloader=dict(dataset=dict(type='mmmim.ImageFolder', pipeline=pipeline))))


@pytest.fixture
def images(image_root):
    return sorted(map(str, image_root.rglob('*.png')))[:2] or sorted(map(str, image_root.rglob('*.jpg')))[:2]


def test_a_mask_is_drawn_over_every_image(cfg, images):
    height, width = ImageSource(images[0], 3).size[::-1]
    mask = torch.zeros(1, height, width, dtype=torch.int64)
    mask[:, :, width // 2 :] = 7
    panel, skipped = prediction_panel(cfg, _Model(pred_sem_seg=PixelData(data=mask)), images)
    assert panel.columns == ['image', 'prediction'] and len(panel.tiles) == len(images) and not skipped
    image, drawn = panel.tiles[0]
    half = width // 2 * (image.shape[1] // width)  # in the enlarged image
    expected = np.round(0.5 * image[:, half:] + 0.5 * np.array(color_of(7)))
    assert np.abs(drawn[:, half:].astype(int) - expected).max() <= 1 and (drawn[:, :half] != image[:, :half]).any()
    assert panel.row_names[0].endswith(('classes 0, 7', 'classes 7, 0'))
    cfg.classes = list('abcdefgh')
    named, _ = prediction_panel(cfg, _Model(pred_sem_seg=PixelData(data=mask)), images)
    assert named.row_names[0].endswith(('classes a, h', 'classes h, a'))


def test_instances_below_the_score_are_left_out(cfg, images):
    answer = InstanceData(
        bboxes=torch.tensor([[1.0, 1.0, 8.0, 8.0], [2.0, 2.0, 12.0, 12.0]]),
        labels=torch.tensor([1, 2]),
        scores=torch.tensor([0.9, 0.3]),
    )
    panel, _ = prediction_panel(cfg, _Model(pred_instances=answer), images[:1], score=0.5)
    image, drawn = panel.tiles[0]
    factor = image.shape[1] // ImageSource(images[0], 3).size[0]  # small images are enlarged
    assert panel.row_names[0].endswith('1 instances') and tuple(drawn[factor, 4 * factor]) == color_of(1)
    assert factor > 1 and (drawn[8 * factor + 1 :] == image[8 * factor + 1 :]).all()
    everything, _ = prediction_panel(cfg, _Model(pred_instances=answer), images[:1], score=0.0)
    assert everything.row_names[0].endswith('2 instances')


def test_points_of_all_faces_that_the_data_set_names_are_drawn(tmp_path):
    """Of an image that it does not name, the whole is one face."""
    (tmp_path / 'WFLW_images').mkdir()
    for name in 'ab':
        Image.new('RGB', (40, 30)).save(tmp_path / f'WFLW_images/{name}.png')
    (tmp_path / 'list.txt').write_text('\n'.join(' '.join([*['1'] * 196, *box, 'a.png']) for box in ('1234', '5678')))
    faces = dict(type='mmmim.WFLW', data_root=str(tmp_path), ann_file='list.txt')
    steps = [dict(type=f'mmmim.{name}', **more) for name, more in (('LoadImage', {}), ('FaceCrop', dict(size=8)))]
    cfg = Config(dict(test_dataloader=dict(dataset=dict(faces, pipeline=[*steps, dict(type='mmmim.PackLandmarks')]))))
    model = _Model(pred_points=torch.tensor([[10.0, 5.0], [30.0, 20.0]], dtype=torch.float64))
    paths = [str(tmp_path / f'WFLW_images/{name}.png') for name in 'ab']
    panel, _ = prediction_panel(cfg, model, paths)
    image, drawn = panel.tiles[0]
    factor = image.shape[1] // 40
    assert [name.split()[-2:] for name in panel.row_names] == [['2', 'faces'], ['1', 'face']]
    for x, y in ((10, 5), (30, 20)):
        assert tuple(drawn[y * factor + factor // 2, x * factor + factor // 2]) == color_of(0)
    assert (drawn != image).any(axis=-1).mean() < 0.01
    (tmp_path / 'list.txt').unlink()
    alone, _ = prediction_panel(cfg, model, paths)
    assert alone.row_names[0].endswith('1 face')


def test_unreadable_files_are_named_and_the_rest_is_drawn(cfg, images, tmp_path):
    (tmp_path / 'broken.jpg').write_text('no image')
    model = _Model(pred_score=torch.tensor([0.2, 0.8]))
    panel, skipped = prediction_panel(cfg, model, [str(tmp_path / 'broken.jpg'), *images])
    assert len(panel.tiles) == len(images) and [path for path, _ in skipped] == [str(tmp_path / 'broken.jpg')]
    assert panel.row_names[0].endswith('class 1, 80%')
    with pytest.raises(ValueError, match='none of the 1 files'):
        prediction_panel(cfg, model, [str(tmp_path / 'broken.jpg')])


def test_a_model_that_predicts_nothing_is_refused(cfg, images):
    with pytest.raises(ValueError, match='no segmentor, detector, classifier or landmark'):
        prediction_panel(cfg, _Model(reconstruction=torch.zeros(3)), images)


@pytest.fixture
def classifier(tmp_path, image_root):
    """(config path, checkpoint) of a classifier as it is initialised."""
    cfg = make_classifier_config(tmp_path / 'run', image_root)
    path = save_config(cfg, tmp_path / 'config.py')
    from mmmim.config.classification import settle_classifier
    from mmmim.config.load import load_config
    from mmmim.config.prepare import set_up_scope

    cfg = load_config(str(path))
    set_up_scope(cfg)
    settle_classifier(cfg)
    checkpoint = tmp_path / 'model.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), checkpoint)
    return path, checkpoint


@pytest.mark.runs
def test_tool_draws_and_refuses_another_models_weights(classifier, image_root, tmp_path):
    config, checkpoint = classifier
    command = [ROOT / 'tools/visualize/predict.py', config]
    rest = [image_root, '--limit', 3, '--out', tmp_path / 'a.png']
    python(*command, checkpoint, *rest, check=True)
    assert len(Panel.load(str(tmp_path / 'a.png')).tiles) == 3
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict()), tmp_path / 'other.pth')
    done = python(*command, tmp_path / 'other.pth', *rest)
    assert done.returncode and 'Traceback' not in done.stderr
    assert 'is no checkpoint of the config' in done.stderr and len(done.stderr.splitlines()[-2]) < 400


def test_all_weights_are_the_checkpoints(classifier):
    from mmmim.config.load import load_config

    config, checkpoint = classifier
    model = build_trained(load_config(str(config)), str(checkpoint))
    theirs = torch.load(checkpoint, weights_only=True)['state_dict']
    assert all(torch.equal(value, theirs[name]) for name, value in model.state_dict().items())
    assert not model.training
