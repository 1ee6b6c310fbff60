"""Images, truth and the predictions of several models side by side, drawn from the data sets of dense tasks."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from harness import ROOT
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from PIL import Image
from torch import nn

pytest.importorskip('mmseg')
from mmmim.config.load import load_config  # noqa: E402
from mmmim.config.prepare import set_up_scope  # noqa: E402
from mmmim.config.segmentation import settle_segmentor  # noqa: E402
from mmmim.visualization.comparison import comparison_panel  # noqa: E402
from mmmim.visualization.overlay import color_of  # noqa: E402

pytestmark = pytest.mark.runs

FOLDER = ROOT / 'configs/quickstart/downstream'
COLOURS = np.array([color_of(i) for i in range(14)])


class Answer(nn.Module):
    """Says the same about every image."""

    def __init__(self, **answer):
        super().__init__()
        self.answer = answer

    def test_step(self, data):
        assert not self.training and not torch.is_grad_enabled()
        return [BaseDataElement(**{key: value.clone() for key, value in self.answer.items()}) for _ in data['inputs']]


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp('scenes') / 'drawn'
    subprocess.run(
        [sys.executable, ROOT / 'tools/datasets/make_scenes.py', out, '--train', '8', '--val', '6', '--workers', '1'],
        check=True,
        capture_output=True,
        timeout=200,
    )
    return out


def test_masks_of_several_models_beside_the_truth(scenes):
    cfg = load_config(str(FOLDER / 'segmentation.py'), {'data_root': str(scenes / 'ade')})
    set_up_scope(cfg)
    settle_segmentor(cfg)
    half = torch.zeros(1, 96, 96, dtype=torch.int64)
    half[:, :, 48:] = 7
    models = dict(a=Answer(pred_sem_seg=PixelData(data=half)), b=Answer(pred_sem_seg=PixelData(data=half.flip(2))))
    panel = comparison_panel(cfg, models, 3)
    assert panel.columns == ['image', 'truth', 'a', 'b'] and len(panel.tiles) == 3
    assert panel.notes['classes'][0] == 'ball' and len(panel.notes['classes']) == 14
    files = sorted((scenes / 'ade/annotations/validation').iterdir())
    for place, (image, truth, a, b) in zip((1, 3, 5), panel.tiles):  # in the middle of each third
        assert image.shape == truth.shape == (192, 192, 3)  # enlarged, so that labels stay thin
        mask = np.asarray(Image.open(files[place])).repeat(2, 0).repeat(2, 1)
        painted = np.round(0.5 * COLOURS[mask.clip(1) - 1] + 0.5 * image)
        assert np.abs(truth - np.where(mask[..., None] > 0, painted, image)).max() <= 1  # 0: unlabelled
        assert np.abs(a[:, :96] - (0.5 * COLOURS[0] + 0.5 * image[:, :96])).max() <= 1
        assert np.abs(a[:, 96:] - (0.5 * COLOURS[7] + 0.5 * image[:, 96:])).max() <= 1
        assert np.abs(b[:, 96:] - (0.5 * COLOURS[0] + 0.5 * image[:, 96:])).max() <= 1


def test_things_of_several_models_beside_the_truth(scenes):
    pytest.importorskip('mmdet')
    from mmmim.config.detection import settle_detector

    cfg = load_config(str(FOLDER / 'detection.py'), {'data_root': str(scenes / 'coco')})
    set_up_scope(cfg)
    settle_detector(cfg)
    masks = torch.zeros(2, 96, 96, dtype=torch.bool)
    masks[:, 10:20, 30:50] = True
    boxes = torch.tensor([[30.0, 10.0, 50.0, 20.0], [0.0, 0.0, 96.0, 96.0]])
    said = InstanceData(bboxes=boxes, labels=torch.tensor([3, 5]), scores=torch.tensor([0.9, 0.2]), masks=masks)
    panel = comparison_panel(cfg, dict(a=Answer(pred_instances=said)), 6, score=0.3)
    assert panel.columns == ['image', 'truth', 'a'] and len(panel.tiles) == 6
    for image, truth, a in panel.tiles:
        assert (truth != image).any()
        inside = a[26:38, 70:98].astype(int)  # of the mask, away from the box and its number
        assert np.abs(inside - (0.5 * np.array(color_of(3)) + 0.5 * image[26:38, 70:98])).max() <= 1
        assert (a[120:] == image[120:]).all()  # what has too low a score is left out
        assert (a[60] == np.array(color_of(3))).all(-1).sum() == 0
        assert (a[20, 62:98] == np.array(color_of(3))).all()  # the upper edge of the box
