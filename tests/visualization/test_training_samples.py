"""The pictures of training data are what a run is fed."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from harness import ROOT, make_config, python, save_config, train_here
from mmengine.hooks import Hook
from mmengine.structures import InstanceData, PixelData

from mmmim.visualization.images import to_tile
from mmmim.visualization.overlay import color_of
from mmmim.visualization.panel import Panel
from mmmim.visualization.training_samples import _labelled, training_panel


class _Watch(Hook):
    """Keeps what the algorithm is given."""

    def __init__(self):
        self.seen = {}

    def watch(self, runner, epoch, data):
        ready = runner.model.data_preprocessor(data, True)
        for i, sample in enumerate(data['data_samples']):
            self.seen[epoch, sample.sample_idx] = [view[i] for view in ready['inputs']]

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.watch(runner, runner.epoch, data_batch[0] if isinstance(data_batch, list) else data_batch)


class _BitmapMasks(list):
    """What mmdet's are asked for."""

    def to_ndarray(self):
        return np.stack(self)


def test_views_are_those_of_the_run_with_this_seed(tmp_path, image_root, monkeypatch):
    from mmmim.engine import launch

    watch, build = _Watch(), launch.build_runner
    monkeypatch.setattr(launch, 'build_runner', lambda cfg: _with(build(cfg), watch))
    cfg = make_config(tmp_path / 'run', image_root, 'cmae', epochs=2)
    runner = train_here(cfg)
    panel = training_panel(cfg, images=3, epochs=2)
    titles = ('online view', 'target view', 'masked')
    assert panel.columns == [f'epoch {epoch}: {title}' for epoch in (1, 2) for title in titles]
    for index, row in zip(panel.notes['indices'], panel.tiles):
        for epoch in range(2):
            views = [to_tile(view, runner.model.data_preprocessor) for view in watch.seen[epoch, index]]
            assert all(np.array_equal(a, b) for a, b in zip(row[3 * epoch : 3 * epoch + 2], views))
            hidden = (row[3 * epoch + 2] != row[3 * epoch]).any(axis=-1).mean()
            assert 0.6 < hidden <= 0.75


def _with(runner, hook):
    runner.register_hook(hook)
    return runner


def test_classes_of_a_mask_are_painted_and_ignored_pixels_are_not():
    image = torch.full((3, 4, 6), 100, dtype=torch.uint8)
    mask = torch.full((1, 4, 6), 255)
    mask[0, 1:3, 2:4] = 5
    sample = dict(inputs=image, data_samples=SimpleNamespace(gt_sem_seg=PixelData(data=mask)))
    _, tile = _labelled(sample, bgr_to_rgb=False)
    painted = (tile != 100).any(axis=-1)
    assert tile.shape == (4 * 32, 6 * 32, 3)  # small crops are enlarged, so that boxes and names do not cover them
    assert painted[32:96, 64:128].all() and painted.sum() == 4 * 32 * 32
    assert tile[32, 64].tolist() == [round(0.5 * value + 50) for value in color_of(5)]


def test_channels_are_swapped_for_models_that_take_bgr():
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    image[0] = 200
    sample = dict(inputs=image, data_samples=SimpleNamespace())
    assert _labelled(sample, bgr_to_rgb=True)[1][0, 0].tolist() == [0, 0, 200]
    assert _labelled(sample, bgr_to_rgb=False)[1][0, 0].tolist() == [200, 0, 0]


def test_boxes_and_instance_masks_are_drawn():
    masks = np.zeros((1, 20, 30), dtype=np.uint8)
    masks[0, 5:15, 5:20] = 1
    instances = InstanceData(
        labels=torch.tensor([3]), bboxes=torch.tensor([[5.0, 5.0, 20.0, 15.0]]), masks=_BitmapMasks(masks)
    )
    sample = SimpleNamespace(gt_instances=instances)
    _, tile = _labelled(dict(inputs=torch.zeros(3, 20, 30, dtype=torch.uint8), data_samples=sample), bgr_to_rgb=False)
    assert tile.shape == (6 * 20, 6 * 30, 3)
    assert tuple(tile[6 * 5, 6 * 12]) == color_of(3) and (tile[72, 108] == np.round(np.array(color_of(3)) / 2)).all()
    assert not tile[: 6 * 5].any() and not tile[:, 6 * 20 + 1 :].any()


def test_neighbouring_classes_have_colours_that_differ():
    colors = np.array([color_of(i) for i in range(30)], dtype=int)
    assert len({tuple(color) for color in colors}) == 30
    assert np.abs(np.diff(colors, axis=0)).max(axis=1).min() > 60


@pytest.mark.runs
def test_tool_writes_a_panel_and_says_what_it_cannot(tmp_path, image_root):
    config = save_config(make_config(tmp_path / 'run', image_root, 'mae'), tmp_path / 'config.py')
    options = ['--images', 2, '--epochs', 1, '--out', tmp_path / 'a.png']
    command = [ROOT / 'tools/visualize/browse_dataset.py', config, *options]
    python(*command, check=True)
    assert Panel.load(str(tmp_path / 'a.png')).columns == ['epoch 1: view', 'epoch 1: masked']
    done = python(*command, '--cfg-options', 'train_dataloader.dataset.data_root=/nowhere')
    assert done.returncode and '/nowhere' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize('options', [dict(images=0), dict(epochs=0)])
def test_nothing_to_show_is_an_error(tmp_path, image_root, options):
    with pytest.raises(ValueError, match='at least one'):
        training_panel(make_config(tmp_path / 'run', image_root, 'mae'), **options)
