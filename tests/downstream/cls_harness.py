"""A classifier of two blocks on 16 px images of two classes, from the configs that people run."""

from pathlib import Path
from typing import Any

from harness import ROOT
from mmengine.config import Config

from mmmim.config.load import load_config

FOLDER = ROOT / 'configs/downstream/classification'
ARCH = dict(embed_dim=32, depth=2, num_heads=2)


def mixing() -> dict:
    """The override that turns mixup and cutmix on."""
    return {
        'model.train_cfg': dict(_delete_=True, augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])
    }


def make_classifier_config(
    work_dir: Path,
    images: Path,
    protocol: str = 'finetune',
    epochs: int = 3,
    batch: int = 16,
    workers: int = 0,
    **overrides: Any,
) -> Config:
    """The class folder's config of a protocol, shrunk: 64 images in batches of 16 make 4 iterations an epoch."""
    cfg = load_config(str(FOLDER / f'vit-tiny_folder_{protocol}.py'))
    cfg.model.backbone.update(arch=dict(ARCH), img_size=16, patch_size=4)
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.num_workers = workers
        loader.dataset.data_root = str(images)
        loader.persistent_workers = False
        loader.dataset.pipeline[1].size = 16
    cfg.merge_from_dict(
        {
            'num_classes': 2,
            'total_batch_size': batch,
            'max_epochs': epochs,
            'warmup_epochs': 1,
            'work_dir': str(work_dir),
            'experiment_name': f'{work_dir.parent.name}_{work_dir.name}',
            'optim_wrapper.dtype': 'float32',
            'default_hooks.logger.interval': 3,
            'default_hooks.checkpoint.interval_minutes': -1,
            'custom_imports.imports': ['mmmim', 'run_plugin'],
            **overrides,
        }
    )
    return cfg
