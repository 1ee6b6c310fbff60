"""A detector of two blocks on 48 px drawings of discs and squares, from the config that people run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from harness import ROOT
from mmengine.config import Config
from PIL import Image

from mmmim.config.load import load_config

FOLDER = ROOT / 'configs/downstream/detection'
SIZE = 48
CLASSES = ('disc', 'square')
COLOURS = np.array([[200, 60, 40], [40, 70, 210]])
ARCH = dict(embed_dim=32, depth=4, num_heads=2)
WIDTH = 24  # of the pyramid and the heads


def draw(rng: np.random.Generator) -> tuple:
    """An image ``[48, 48, 3]`` of a disc and a square that do not touch, with noise, and their (class, polygon)."""
    pixels = np.full((SIZE, SIZE, 3), (110, 120, 100), np.float64)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    found = []
    for label, left in enumerate(rng.permutation([2, 25])):
        radius = rng.uniform(6, 10)
        x, y = left + rng.uniform(radius, 21 - radius), rng.uniform(radius, SIZE - radius)
        corners = 32 if label == 0 else 4
        angles = (np.arange(corners) + 0.5) * 2 * np.pi / corners
        reach = radius * (1 if label == 0 else 2**0.5)
        inside = (
            (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            if label == 0
            else np.maximum(abs(rows - y), abs(columns - x)) < radius
        )
        pixels[inside] = COLOURS[label]
        found.append((label, np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], 1)))
    return (pixels + rng.normal(0, 20, pixels.shape)).clip(0, 255).astype(np.uint8), found


def make_coco(root: Path, train: int = 32, val: int = 8) -> Path:
    """Drawings and annotations in the layout of COCO 2017; classes have the ids 3 and 7."""
    rng = np.random.default_rng(0)
    for split, count in (('train2017', train), ('val2017', val)):
        (root / split).mkdir(parents=True)
        images, annotations = [], []
        for i in range(count):
            pixels, objects = draw(rng)
            Image.fromarray(pixels).save(root / split / f'{i:03d}.png')
            images.append(dict(id=i + 1, file_name=f'{i:03d}.png', width=SIZE, height=SIZE))
            for label, points in objects:
                (left, top), (right, bottom) = points.min(0), points.max(0)
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=i + 1,
                        category_id=(3, 7)[label],
                        iscrowd=0,
                        bbox=[left, top, right - left, bottom - top],
                        area=(right - left) * (bottom - top),
                        segmentation=[points.round(2).flatten().tolist()],
                    )
                )
        categories = [dict(id=3, name='disc'), dict(id=7, name='square')]
        write(root, split, dict(images=images, annotations=annotations, categories=categories))
    return root


def write(root: Path, split: str, content: dict) -> None:
    (root / 'annotations').mkdir(exist_ok=True)
    (root / f'annotations/instances_{split}.json').write_text(json.dumps(content))


def read(root: Path, split: str = 'train2017') -> dict:
    return json.loads((root / f'annotations/instances_{split}.json').read_text())


def make_det_config(work_dir: Path, data: Path, epochs: int = 20, **overrides: Any) -> Config:
    """The generic config, shrunk: batches of 8."""
    cfg = load_config(str(FOLDER / 'vit-tiny_folder_mask-rcnn.py'), {'data_root': str(data)})
    cfg.model.backbone.update(arch=dict(ARCH), patch_size=4, out_indices=(3,))
    strides, roi_head = [2, 4, 8], cfg.model.roi_head
    cfg.model.neck.update(out_channels=WIDTH, num_outs=3)
    cfg.model.rpn_head.update(in_channels=WIDTH, feat_channels=WIDTH)
    cfg.model.rpn_head.anchor_generator.strides = strides
    for extractor in (roi_head.bbox_roi_extractor, roi_head.mask_roi_extractor):
        extractor.update(out_channels=WIDTH, featmap_strides=strides, finest_scale=10)
    roi_head.bbox_head.update(in_channels=WIDTH, fc_out_channels=64)
    roi_head.mask_head.update(in_channels=WIDTH, conv_out_channels=WIDTH)
    for proposals in (cfg.model.train_cfg.rpn_proposal, cfg.model.test_cfg.rpn):
        proposals.update(nms_pre=100, max_per_img=40)
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'].update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='mmmim.LoadImage', decode='whole'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ]
    cfg.merge_from_dict(
        {
            'image_size': SIZE,
            'total_batch_size': 8,
            'max_epochs': epochs,
            'warmup_epochs': 1,
            'train_cfg.val_interval': 1000,
            'work_dir': str(work_dir),
            'model.train_cfg.rcnn.sampler': dict(num=16, pos_fraction=0.5),
            'model.train_cfg.rpn.sampler.num': 32,
            'experiment_name': f'{work_dir.parent.name}_{work_dir.name}',
            'optim_wrapper.dtype': 'float32',
            'optim_wrapper.optimizer.lr': 6e-3,
            'optim_wrapper.paramwise_cfg.layer_decay_rate': 1.0,
            'default_hooks.logger.interval': 4,
            'default_hooks.checkpoint.interval_minutes': -1,
            'custom_imports.imports': ['mmmim', 'run_plugin'],
            **overrides,
        }
    )
    return cfg
