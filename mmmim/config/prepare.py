"""Prepare a config for building: import its scope's toolbox, derive the settings that it leaves out."""

import importlib

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..deferred import leave_out_multimodal
from ..models.mmcv_ops import provide_ops
from .channels import settle_channels
from .classification import settle_classifier
from .detection import settle_detector
from .landmarks import settle_landmarks
from .paths import checkout
from .segmentation import settle_segmentor
from .weights import settle_from_weights

HOST_TOOLBOXES = ('mmpretrain', 'mmseg', 'mmdet')


def set_up_scope(cfg: Config) -> None:
    """Import the toolbox of the config's ``default_scope`` and make it the default scope."""
    scope = cfg.get('default_scope', 'mmmim')
    if scope in HOST_TOOLBOXES:
        try:
            leave_out_multimodal()
            provide_ops(required=scope == 'mmdet')  # first: models of all three import mmdet where it is installed
            module = importlib.import_module(f'{scope}.utils')
        except ImportError as error:
            message = f"the config's default_scope is '{scope}', which cannot be imported: {error}"
            if isinstance(error, ModuleNotFoundError):
                set_up = f'Install it: bash tools/setup_env.sh {"detection" if scope == "mmdet" else "run"}'
                message += f'. {set_up if checkout() else "`mmmim doctor` says what to install"}'
            raise ImportError(message) from error
        module.register_all_modules(init_default_scope=False)
        if scope in ('mmdet', 'mmseg'):
            importlib.import_module(f'mmmim.models.{scope}_parts')
    init_default_scope(scope)


def drop_disabled_hooks(cfg: Config) -> None:
    """Let ``default_hooks.NAME=None`` turn off our hooks as it does MMEngine's own (the runner asserts otherwise)."""
    own = {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'}
    for name in [name for name, hook in (cfg.get('default_hooks') or {}).items() if hook is None and name not in own]:
        cfg.default_hooks.pop(name)


def settle(cfg: Config, with_data: bool = True) -> None:
    """Derive the settings that a config of a downstream task leaves out; others are unchanged.

    Args:
        cfg: The config, which is changed.
        with_data: Whether annotations are read, see :func:`~mmmim.config.detection.settle_detector`.
    """
    settle_classifier(cfg)
    settle_segmentor(cfg)
    settle_landmarks(cfg)
    settle_detector(cfg, with_data)
    settle_from_weights(cfg)
    settle_channels(cfg)


def settle_loaders(cfg: Config) -> None:
    """Defaults of every data loader: workers that survive a signal to the process group, and pinned memory."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if not loader:
            continue
        start = loader.get('worker_init_fn') or dict(type='mmmim.start_worker')
        if isinstance(start, dict) and start['type'] == 'mmmim.start_worker':  # its seed may be that of another run
            loader.worker_init_fn = dict(start, seed=cfg.randomness['seed'])
        if torch.cuda.is_available():
            loader.setdefault('pin_memory', True)
