"""Read a config file and apply the command line's overrides."""

import os.path as osp
from typing import Any, Optional, Set, Tuple

from mmengine.config import Config

from .derived import has_comments, leave_out_equal, leave_out_overlaid
from .images import GOVERNING, settle_images
from .paths import configs_folder, find_config
from .schedule import leave_out_shares, what_follows


def load_config(path: str, overrides: Optional[dict] = None, work_dir: Optional[str] = None) -> Config:
    """Read a config and apply the command line's ``--cfg-options``.

    ``data_root`` at the top of a config stands for all paths below it: overriding it on the command line moves them
    all. (A config that inherits sets the paths of its data sets.) ``image_channels`` and ``value_range`` at the top are
    those of every ``LoadImage``, see :func:`~mmmim.config.images.settle_images`.

    Args:
        path: A file, or the name of a config that came with mmmim, see :func:`~mmmim.config.paths.find_config`.
        overrides: Dotted keys.
        work_dir: None: the config's, else ``work_dirs/`` and the name below ``configs/``.

    Raises:
        FileNotFoundError: No such config.
        KeyError: An override whose first name the config does not have (a typo would pass silently).
        ValueError: Channels or ranges that contradict each other.
    """
    path = find_config(path)
    if not osp.isfile(path):
        raise FileNotFoundError(f'there is no config {path!r}, and none of this name came with mmmim')
    cfg = Config.fromfile(path)
    drop_scopes(cfg._cfg_dict, cfg.get('default_scope', 'mmmim'))
    _leave_out_derived(cfg, path)
    overrides = overrides or {}
    known = {*cfg, *_RUNNER_KEYS, *_keys_of_rate({*cfg, *overrides})}
    for key in overrides:
        first = key.split('.')[0]
        if first not in known:
            raise KeyError(f'--cfg-options {key}: the config has no `{first}`. Its keys: {", ".join(sorted(cfg))}')
    old_root, images = cfg.get('data_root'), {key: cfg.get(key) for key in GOVERNING}
    cfg.merge_from_dict(overrides)
    object.__setattr__(cfg, 'given', dict(overrides))  # no key of the config
    if old_root and cfg.data_root != old_root:
        _move_paths(cfg._cfg_dict, old_root, cfg.data_root, given=set(overrides))
    settle_images(cfg, images)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', _name_below_configs(path))
    cfg.source = path
    if osp.dirname(osp.abspath(path)) == osp.abspath(cfg.work_dir):
        # the runner writes the config it runs, all values filled in, to the work dir: not over the one that was read
        # (plain assignment would make it a key of the config)
        object.__setattr__(cfg, '_filename', osp.join(cfg.work_dir, f'as_run_{osp.basename(path)}'))
    return cfg


def _keys_of_rate(keys: Set[str]) -> Set[str]:
    """Keys of the learning rate that a config may leave out where it has those without which they do nothing."""
    rate = {'base_lr'} if 'total_batch_size' in keys else set()
    return rate | ({'lr_base_batch'} if rate <= keys and rate else set())


def _leave_out_derived(cfg: Config, path: str) -> None:
    """Take out values that a base states and this config governs, and those that say what follows anyway.

    A file that a run of an earlier version wrote states the batch and accumulation of that run's number of processes.
    """
    try:
        derived = what_follows(cfg)
    except (ValueError, TypeError, KeyError, AttributeError):  # told when the run starts
        return
    leave_out_overlaid(cfg, path, derived)
    leave_out_equal(cfg, derived)
    by_a_run = 'source' in cfg and 'launcher' in cfg
    if by_a_run and not Config._get_base_files(path) and not has_comments(path):
        leave_out_shares(cfg)


def drop_scopes(node: Any, default: str) -> None:
    """Take the key ``_scope_`` out of what a base of another package has, such as ``_base_ = 'mmpretrain::...'``.

    MMEngine writes it into each outermost dict with a ``type``, and takes it out again where a registry builds that.
    Functions of data loaders (``collate_fn``, ``worker_init_fn``) are no such place: they would get it as an argument.

    Args:
        node: The config, which is changed. A scope that is the default says nothing and goes; of a function it becomes
            the beginning of its ``type``; others stay.
        default: The config's ``default_scope``.
    """
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, dict):
            scope = value.get('_scope_')
            if scope == default or key in ('collate_fn', 'worker_init_fn'):
                value.pop('_scope_', None)
            kind, function = value.get('type'), key in ('collate_fn', 'worker_init_fn')
            if scope not in (None, default) and function and isinstance(kind, str) and '.' not in kind:
                value['type'] = f'{scope}.{kind}'
        if isinstance(value, (dict, list, tuple)):
            drop_scopes(value, default)


def _name_below_configs(path: str) -> str:
    """``mae/ablations/loss-all-pixels`` for a file in a folder ``configs``, else its name with its folder's: configs of
    several methods are called alike."""
    parts = osp.splitext(osp.abspath(path))[0].split(osp.sep)
    folders = [i for i, part in enumerate(parts[:-1]) if part == 'configs']
    return osp.join(*(parts[folders[-1] + 1 :] if folders else parts[-2:]))


# keys of MMEngine's Runner that a config may leave out
_RUNNER_KEYS = {
    'work_dir',
    'resume',
    'load_from',
    'randomness',
    'launcher',
    'env_cfg',
    'custom_hooks',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'visualizer',
    'log_level',
    'experiment_name',
    'feature_eval',
    'max_batch_per_device',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'auto_scale_lr',
    'sync_bn',
    'activation_checkpointing',
    'compile',
    'log_processor',
    'resume_schedule',
    'runner_type',
    'default_hooks',
    'default_scope',
    'custom_imports',
    *GOVERNING,
}


def _move_paths(node: Any, old: str, new: str, given: set, name: str = '') -> None:
    """Replace a leading ``old`` in every string below ``node`` that the command line did not set itself."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    old, new = old.rstrip('/'), new.rstrip('/')
    for key, value in list(items):
        path = f'{name}.{key}' if name else str(key)
        if isinstance(value, (dict, list)):
            _move_paths(value, old, new, given, path)
        elif isinstance(value, str) and path not in given and f'{value}/'.startswith(f'{old}/'):
            node[key] = new + value[len(old) :]


def install_config_names() -> None:
    """Let a config inherit one that came with mmmim: ``_base_ = 'mmmim::mae/vit-b_800e.py'``.

    MMEngine has such names for the packages in a list of its own, and looks for them in their installed folder
    ``.mim``; it would also put our scope into every dict of such a base, which data loaders do not take.
    """
    theirs = Config._get_cfg_path
    if getattr(theirs, 'knows_mmmim', False):
        return

    def find(cfg_path: str, filename: str) -> Tuple[str, Optional[str]]:
        package, _, name = cfg_path.partition('::')
        if package != 'mmmim' or not name:
            return theirs(cfg_path, filename)
        path = configs_folder() / name
        if not path.is_file():
            raise FileNotFoundError(f'{filename} inherits {cfg_path!r}, and there is no config {path}')
        return str(path), None

    find.knows_mmmim = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(find)
