"""A segmentor of two blocks on 32 px drawings of three classes, from the config that people run."""

from pathlib import Path
from typing import Any

import numpy as np
from harness import ROOT
from mmengine.config import Config
from PIL import Image

from mmmim.config.load import load_config

FOLDER = ROOT / 'configs/downstream/segmentation'
ARCH = dict(embed_dim=32, depth=4, num_heads=2)
COLOURS = np.array([[110, 120, 100], [200, 60, 40], [40, 70, 210]])  # ground, disc, square


def draw(rng: np.random.Generator, size: int = 32) -> tuple:
    """An image ``[size, size, 3]`` of a disc and a square on the ground, with noise, and its mask."""
    rows, columns = np.mgrid[:size, :size]
    mask = np.zeros((size, size), np.uint8)
    y, x = rng.integers(8, size - 8, 2)
    mask[(rows - y) ** 2 + (columns - x) ** 2 < rng.integers(5, 9) ** 2] = 1
    y, x = rng.integers(0, size - 12, 2)
    mask[y : y + 12, x : x + 12] = 2
    pixels = COLOURS[mask] + rng.normal(0, 25, (size, size, 3))
    return pixels.clip(0, 255).astype(np.uint8), mask


def make_masks(root: Path, train: int = 32, val: int = 8, reduced: bool = False) -> Path:
    """Images and masks in two folders; with ``reduced`` stored as class + 1, and 0 in one corner for unlabelled."""
    rng = np.random.default_rng(0)
    for split, count in (('training', train), ('validation', val)):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for i in range(count):
            pixels, mask = draw(rng)
            if reduced:
                mask = mask + 1
                mask[:3, :3] = 0
            Image.fromarray(pixels).save(root / f'images/{split}/{i:03d}.png')
            Image.fromarray(mask).save(root / f'annotations/{split}/{i:03d}.png')
    return root


def make_seg_config(work_dir: Path, data: Path, steps: int = 60, **overrides: Any) -> Config:
    """The mask folder's config, shrunk: batches of 8."""
    cfg = load_config(str(FOLDER / 'vit-tiny_folder_upernet.py'), {'data_root': str(data)})
    cfg.model.backbone.update(arch=dict(ARCH), patch_size=4, out_indices=(0, 1, 2, 3))
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'].update(num_workers=0, persistent_workers=False)
    cfg.merge_from_dict(
        {
            'num_classes': 3,
            'crop_size': 32,
            'scale': (32, 32),
            'total_batch_size': 8,
            'max_iters': steps,
            'warmup_iters': 2,
            'train_cfg.val_interval': 1000,
            'model.decode_head.channels': 16,
            'model.auxiliary_head.channels': 16,
            'work_dir': str(work_dir),
            'experiment_name': f'{work_dir.parent.name}_{work_dir.name}',
            'optim_wrapper.dtype': 'float32',
            'optim_wrapper.optimizer.lr': 3e-3,
            'default_hooks.logger.interval': 5,
            'default_hooks.checkpoint.interval_minutes': -1,
            'custom_imports.imports': ['mmmim', 'run_plugin'],
            **overrides,
        }
    )
    return cfg
