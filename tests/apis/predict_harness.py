"""Small trained models of each task in folders, as fine-tuning leaves them; their weights are random."""

import csv
from pathlib import Path

import torch
from cls_harness import make_classifier_config
from det_harness import CLASSES, make_det_config
from harness import save_config
from mmengine.config import Config
from seg_harness import make_seg_config

import mmmim
from mmmim.apis.trained import CONFIG, MODEL
from mmmim.config.load import load_config
from mmmim.config.prepare import set_up_scope, settle
from mmmim.registry import MODELS


def keep_model(cfg: Config, folder: Path) -> Path:
    """Write ``model.py`` and ``model.pth`` of a config."""
    cfg.work_dir = str(folder)
    cfg = load_config(str(save_config(cfg, folder / CONFIG)))
    set_up_scope(cfg)
    settle(cfg, with_data=False)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for name, value in model.state_dict().items():
        if name.endswith(('fc.weight', 'conv_seg.weight')):  # answers that differ from image to image
            value.normal_(std=1.0)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / MODEL)
    return folder


def make_classifier(folder: Path, images: Path, multi_label: bool = False, **overrides) -> Path:
    """Of the classes cat and dog."""
    cfg = make_classifier_config(folder / 'run', images, **overrides)
    cfg.classes = ['cat', 'dog']
    if multi_label:
        cfg.model.head = dict(type='MultiLabelLinearClsHead', num_classes=2)
        cfg.model.train_cfg = None
    return keep_model(cfg, folder)


def make_segmentor(folder: Path, data: Path, **overrides) -> Path:
    """Of three classes, at 32 px."""
    cfg = make_seg_config(folder / 'run', data, **overrides)
    cfg.classes = ['ground', 'disc', 'square']
    return keep_model(cfg, folder)


def make_detector(folder: Path, data: Path) -> Path:
    """Of two classes, at 48 px."""
    cfg = make_det_config(folder / 'run', data)
    cfg.classes = list(CLASSES)
    return keep_model(cfg, folder)


def table(out):
    """The rows of ``predictions.csv``."""
    with open(out / 'predictions.csv', encoding='utf-8', errors='surrogateescape', newline='') as file:
        return list(csv.DictReader(file))


def run(model, data, out, **options):
    """Predict in this process."""
    return mmmim.predict(str(model), str(data), str(out), num_workers=0, **options)
