"""A landmark estimator of four small blocks on drawn faces, from the config that people run."""

import sys
from pathlib import Path
from typing import Any

from harness import ROOT
from mmengine.config import Config

from mmmim.config.load import load_config

sys.path.insert(0, str(ROOT / 'tools/datasets'))
import make_faces  # noqa: E402

FOLDER = ROOT / 'configs/downstream/landmarks'
TRAIN, TEST = map(make_faces.LIST.format, make_faces.SPLITS)


def make_landmark_config(work_dir: Path, data: Path, epochs: int = 3, batch: int = 8, **overrides: Any) -> Config:
    """The drawn faces' config, shrunk to 32 px and four blocks."""
    cfg = load_config(str(FOLDER / 'vit-tiny_faces_upernet.py'), {'data_root': str(data)})
    cfg.model.backbone.update(
        arch=dict(embed_dim=48, depth=4, num_heads=3), patch_size=8, out_indices=(0, 1, 2, 3), drop_path_rate=0.0
    )
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'].update(num_workers=0, persistent_workers=False)
    cfg.merge_from_dict(
        {
            'image_size': 32,
            'total_batch_size': batch,
            'max_epochs': epochs,
            'warmup_epochs': 0,
            'model.head.channels': 32,
            'model.heatmap_size': 16,
            'model.radius': 4.0,
            'work_dir': str(work_dir),
            'experiment_name': f'{work_dir.parent.name}_{work_dir.name}',
            'optim_wrapper.dtype': 'float32',
            'default_hooks.logger.interval': 3,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.interval_minutes': -1,
            'custom_imports.imports': ['mmmim', 'run_plugin'],
            **overrides,
        }
    )
    return cfg
