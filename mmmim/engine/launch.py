"""From a config file and a command line to a runner: what every tool shares."""

import importlib
import os
import os.path as osp
import sys
from typing import Any, List, Optional

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, init_dist
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.runner import Runner, find_latest_checkpoint

from ..deferred import leave_out_multimodal
from ..models.build import check_model
from ..models.mmcv_ops import provide_ops
from ..safe_load import load_file
from .classifier import settle_classifier
from .detector import settle_detector
from .host_memory import keep_freed_memory
from .loaders import settle_loaders
from .segmentor import settle_segmentor

# what a user can mend: the tools print these without a traceback
USER_ERRORS = (FileNotFoundError, NotADirectoryError, KeyError, ValueError, TypeError, RuntimeError, ImportError)

HOST_TOOLBOXES = ('mmpretrain', 'mmseg', 'mmdet')


def load_config(path: str, overrides: Optional[dict] = None, work_dir: Optional[str] = None) -> Config:
    """Read a config and apply the command line's ``--cfg-options``.

    ``data_root`` at the top of a config stands for all paths below it: overriding it on the command line moves them
    all. (A config that inherits sets the paths of its data sets.)

    Raises:
        FileNotFoundError: No such config.
        KeyError: An override whose first name the config does not have (a typing error would pass in silence).
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'there is no config {path!r}')
    cfg = Config.fromfile(path)
    overrides = overrides or {}
    for key in overrides:
        first = key.split('.')[0]
        if first not in cfg and first not in _RUNNER_KEYS:
            raise KeyError(f'--cfg-options {key}: the config has no `{first}`. Its keys: {", ".join(sorted(cfg))}')
    old_root = cfg.get('data_root')
    cfg.merge_from_dict(overrides)
    if old_root and cfg.data_root != old_root:
        _move_paths(cfg._cfg_dict, old_root, cfg.data_root, given=set(overrides))
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
    'runner_type',
    'default_hooks',
    'default_scope',
    'custom_imports',
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


def set_up_scope(cfg: Config) -> None:
    """Make the scope that the config names work: import its toolbox and let it be the default."""
    scope = cfg.get('default_scope', 'mmmim')
    if scope in HOST_TOOLBOXES:
        try:
            leave_out_multimodal()
            provide_ops(required=scope == 'mmdet')  # first: models of all three import mmdet where it is installed
            module = importlib.import_module(f'{scope}.utils')
        except ImportError as error:
            message = f"the config's default_scope is '{scope}', which cannot be imported: {error}"
            if isinstance(error, ModuleNotFoundError):
                message += f'. Install it: bash tools/setup_env.sh {"detection" if scope == "mmdet" else "run"}'
            raise ImportError(message) from error
        module.register_all_modules(init_default_scope=False)
        if scope == 'mmdet':
            importlib.import_module('mmmim.models.detection')
    init_default_scope(scope)


def set_up_processes(launcher: str, cfg: Config) -> None:
    """Start communication between processes; on machines without an accelerator through gloo, which MMEngine cannot.

    Also shares the cores of a machine without accelerator among its processes (torchrun would leave one to each).
    """
    if launcher == 'none':
        return
    dist_cfg = dict(cfg.get('env_cfg', {}).get('dist_cfg', {}))
    if launcher == 'slurm':  # jobs that share a node need ports of their own
        os.environ.setdefault('MASTER_PORT', str(20000 + int(os.environ.get('SLURM_JOB_ID', 0)) % 20000))
    if torch.cuda.is_available():
        dist_cfg.setdefault('backend', 'nccl')
        init_dist(launcher, **dist_cfg)
        return
    if launcher == 'slurm':
        _slurm_environment()
    elif launcher != 'pytorch':
        raise ValueError(f"launcher='{launcher}' needs an accelerator; on the CPU use 'pytorch' or 'slurm'")
    dist.init_process_group('gloo')
    local = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local))


def _slurm_environment() -> None:
    """Translate slurm's variables into those of torch.distributed."""
    nodes = os.environ['SLURM_NODELIST']
    os.environ.setdefault('MASTER_ADDR', os.popen(f"scontrol show hostname '{nodes}' | head -n1").read().strip())
    os.environ.update(
        RANK=os.environ['SLURM_PROCID'],
        WORLD_SIZE=os.environ['SLURM_NTASKS'],
        LOCAL_RANK=os.environ.get('SLURM_LOCALID', '0'),
        LOCAL_WORLD_SIZE=os.environ.get('SLURM_NTASKS_PER_NODE', '1'),
    )


def find_resume(cfg: Config) -> Optional[str]:
    """The checkpoint that ``--resume`` means: the one that is named, or the newest of the work dir, wherever that is.

    The pointer holds the path of the time of writing; a work dir that has moved since is looked into by name.
    """
    if not cfg.get('resume'):
        return None
    path = cfg.get('load_from') or find_latest_checkpoint(cfg.work_dir)
    beside = osp.join(cfg.work_dir, osp.basename(path)) if path else ''
    if path and not osp.exists(path) and osp.isfile(beside):
        cfg.load_from = path = beside
    return path


def fix_seed(cfg: Config) -> int:
    """Make sure that the run has a seed before anything is built.

    ``randomness.seed=None`` draws one for all ranks; a resumed run takes the one in its checkpoint.
    """
    path = find_resume(cfg)
    randomness = dict(cfg.get('randomness') or {})
    if randomness.get('seed') is None:
        if path:
            randomness['seed'] = load_file(path).get('meta', {}).get('seed', 0)  # weights alone are refused later
        else:
            drawn = [int.from_bytes(os.urandom(4), 'little')]
            broadcast_object_list(drawn)
            randomness['seed'] = drawn[0]
    cfg.randomness = randomness
    return randomness['seed']


def split_batch(total: int, world_size: int, limit: Optional[int] = None) -> List[int]:
    """Share a total batch: ``[batch per process, batches to accumulate]``, with as few accumulations as possible.

    Raises:
        ValueError: The total cannot be shared evenly.
    """
    if total % world_size:
        raise ValueError(f'total_batch_size={total} cannot be shared by {world_size} processes: it must be a multiple')
    share = total // world_size
    for accumulation in range(1, share + 1):
        if share % accumulation == 0 and (not limit or share // accumulation <= limit):
            return [share // accumulation, accumulation]
    raise ValueError(f'max_batch_per_device={limit} must be at least 1')


def set_batch_and_lr(cfg: Config, world_size: int) -> None:
    """Derive batches, accumulation and the learning rate from ``total_batch_size`` (does nothing without that key).

    ``lr = base_lr * total_batch_size / 256`` where the config has a ``base_lr``; ``lr_base_batch`` is another number of
    images than 256, or None: the rate is ``base_lr``.
    """
    total = cfg.get('total_batch_size')
    if total is None:
        return
    batch, accumulation = split_batch(total, world_size, cfg.get('max_batch_per_device'))
    cfg.train_dataloader.batch_size = batch
    sampler = cfg.train_dataloader.sampler
    if 'round_to' not in sampler and sampler.type in ('EpochSampler', 'mmmim.EpochSampler'):
        sampler.round_to = total
    wrappers = cfg.optim_wrapper
    for wrapper in (
        [wrappers]
        if 'optimizer' in wrappers
        else [w for w in wrappers.values() if isinstance(w, dict) and 'optimizer' in w]
    ):
        wrapper.accumulative_counts = accumulation
        base_lr = wrapper.pop('base_lr', cfg.get('base_lr'))
        if base_lr is not None:
            base_batch = cfg.get('lr_base_batch', 256)
            wrapper.optimizer.lr = base_lr * total / base_batch if base_batch else base_lr


def set_schedule(cfg: Config) -> None:
    """Let ``max_epochs`` and ``warmup_epochs`` at the top of a config govern the loop and the schedulers.

    The scheduler that begins at epoch 0 and precedes others is the warm-up; it may last a fraction of an epoch.

    Raises:
        ValueError: A warm-up as long as training, which would leave the learning rate near zero in silence.
    """
    if 'max_epochs' not in cfg:
        return
    cfg.train_cfg.max_epochs = cfg.max_epochs
    warmup = cfg.get('warmup_epochs')
    if warmup is None:
        return
    if warmup >= cfg.max_epochs:
        raise ValueError(f'warmup_epochs={warmup} must be below max_epochs={cfg.max_epochs}: set both')
    *first, last = cfg.param_scheduler
    if warmup and not first:
        raise ValueError(f'warmup_epochs={warmup}, but param_scheduler has one entry and no warm-up before it')
    rest = [*first[1:], last]
    if first:
        first[0].end = warmup
    for scheduler in rest:
        scheduler.update(begin=warmup, end=cfg.max_epochs)
        if 'T_max' in scheduler:
            scheduler.T_max = cfg.max_epochs - warmup
    cfg.param_scheduler = cfg.param_scheduler if warmup else rest


def drop_disabled_hooks(cfg: Config) -> None:
    """Let ``default_hooks.NAME=None`` turn off our hooks as it does MMEngine's own (the runner asserts otherwise)."""
    own = {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'}
    for name in [name for name, hook in (cfg.get('default_hooks') or {}).items() if hook is None and name not in own]:
        cfg.default_hooks.pop(name)


def settle(cfg: Config, with_data: bool = True) -> None:
    """Fill in what a classification, segmentation or detection config leaves open; others stay as they are.

    Args:
        cfg: The config, which is changed.
        with_data: Whether annotations are read, see :func:`~mmmim.engine.detector.settle_detector`.
    """
    settle_classifier(cfg)
    settle_segmentor(cfg)
    settle_detector(cfg, with_data)


def build_runner(cfg: Config, launcher: str = 'none') -> Runner:
    """Everything between a config and ``runner.train()`` or ``runner.test()``."""
    cfg.launcher = launcher
    keep_freed_memory()
    set_up_scope(cfg)
    set_up_processes(launcher, cfg)
    fix_seed(cfg)
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    set_batch_and_lr(cfg, world_size)
    set_schedule(cfg)
    drop_disabled_hooks(cfg)
    settle(cfg)
    settle_loaders(cfg)
    check_model(cfg.model)
    if 'run_state' not in (cfg.get('default_hooks') or {}):  # a config of another toolbox
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='mmmim.RunStateHook', guard=False)]
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if hasattr(model, 'check_batch') and 'total_batch_size' in cfg:
        model.check_batch(
            cfg.train_dataloader.batch_size * world_size, cfg.train_dataloader.sampler.get('repeat_crops', 1)
        )
    return runner


def end_with(error: Exception, runner: Optional[Runner]) -> None:
    """End a tool: one line for what a user can mend, the whole traceback for what broke while training."""
    training = runner is not None and getattr(runner._train_loop, '_iter', 0) > 0
    expected = type(error).__module__.startswith('mmmim.')
    if os.environ.get('MMMIM_TRACEBACK') or (training and not expected):
        raise error
    message = str(error)
    if 'Original Traceback' in message:  # from a loading worker, which puts its traceback into the message
        message = message.strip().splitlines()[-1].partition(': ')[2]
    sys.exit(f'{type(error).__name__}: {message}\n(MMMIM_TRACEBACK=1 shows where)')
