"""Options of the commands for what most people set, each brought to the key of a config that governs it."""

import argparse
from typing import Any, Dict, Iterator, List, Optional

from mmengine.config import Config

from .derived import ABSENT, names_of, stated
from .images import LOADERS
from .load import load_config
from .schedule import optimizer_path, our_task, schedulers


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Learning rate, batch, length, seed."""
    parser.add_argument(
        '--lr',
        type=float,
        metavar='RATE',
        help='base_lr: the learning rate for 256 images (lr_base_batch) in a step; it grows with the batch. In a '
        'config without base_lr: the learning rate itself',
    )
    parser.add_argument(
        '--batch-size', type=int, metavar='IMAGES', help='total_batch_size: in a step, of all processes'
    )
    parser.add_argument('--seed', type=int, help='randomness.seed')


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Device and loading workers."""
    add_device(parser)
    parser.add_argument('--workers', type=int, metavar='N', help='processes that load images, of each training process')


def add_device(parser: argparse.ArgumentParser) -> None:
    """What torch is to see; :func:`mmmim.cli.choose_device` has acted on it before torch was imported."""
    parser.add_argument('--device', metavar='cpu|cuda|cuda:N', help='default: a GPU where there is one')


def check_device(name: Optional[str], launcher: str = 'none') -> None:
    """Check that torch has the device of ``--device``, which the command chose before torch was imported.

    Raises:
        ValueError: It has not, there is no such name, or one GPU for several processes.
    """
    import torch

    if name is None:
        return
    kind, _, number = name.partition(':')
    if kind not in ('cpu', 'cuda') or (number and not (kind == 'cuda' and number.isdigit())):
        raise ValueError(f'--device {name}: there are cpu, cuda and cuda:N, such as cuda:1')
    if number and launcher != 'none':
        raise ValueError(f'--device {name} is for one process: several take theirs from CUDA_VISIBLE_DEVICES=1,2')
    if kind == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'--device {name}: torch {torch.__version__} sees no such GPU (`mmmim doctor` says why)')


def settings(cfg: Config, options: Dict[str, Any]) -> Dict[str, Any]:
    """The overrides that options stand for in a config.

    Args:
        cfg: The config, as it was read.
        options: ``lr``, ``batch_size``, ``epochs``, ``seed``, ``workers``, ``image_size``; None: not given.

    Raises:
        ValueError: The config has no key for it; the message says what to set.
    """
    found: Dict[str, Any] = {}
    for name, rule in _RULES.items():
        if options.get(name) is not None:
            found.update(rule(cfg, options[name]))
    return found


def configured(args: argparse.Namespace, **keys: str) -> Config:
    """The config of a command with its options and ``--cfg-options``.

    Args:
        args: With ``config``, ``cfg_options`` and ``work_dir``, and options of :func:`settings`.
        **keys: The key of an option that has another one here.

    Raises:
        ValueError: An option that the config cannot follow, or one that is given twice.
    """
    overrides, options = dict(args.cfg_options or {}), vars(args)
    given = {key: options[name] for name, key in keys.items() if options[name] is not None}
    others = {name: value for name, value in options.items() if name not in keys}
    given.update(settings(load_config(args.config, overrides, args.work_dir), others))
    twice = [key for key in given if key in overrides]
    if twice:
        raise ValueError(
            f'--cfg-options {twice[0]}={overrides[twice[0]]} is what an option says, too: give one of them'
        )
    return load_config(args.config, {**overrides, **given}, args.work_dir)


def autocast(cfg: Config) -> None:
    """``--amp``, as other projects' tools have it: our wrappers autocast already; MMEngine's becomes its mixed one.

    Raises:
        ValueError: The config says float32, or has another wrapper.
    """
    for name in names_of(cfg.get('optim_wrapper')):
        wrapper = cfg.optim_wrapper if name is None else cfg.optim_wrapper[name]
        kind = str(wrapper.get('type', 'OptimWrapper')).rpartition('.')[2]
        if kind == 'AutocastOptimWrapper':
            if wrapper.get('dtype', 'auto') == 'float32':
                raise ValueError('--amp: optim_wrapper.dtype=float32 says otherwise: leave one of them out')
            print('--amp: autocast to bfloat16 is on without it, on hardware that has it (optim_wrapper.dtype)')
        elif kind == 'OptimWrapper':
            wrapper.update(type='AmpOptimWrapper', loss_scale=wrapper.get('loss_scale', 'dynamic'))
        elif kind != 'AmpOptimWrapper':
            raise ValueError(f'--amp: optim_wrapper.type={kind} has a precision of its own')


def scale_rate(cfg: Config) -> None:
    """``--auto-scale-lr``, as other projects' tools have it: ``base_lr`` scales already; else MMEngine's key does.

    Raises:
        ValueError: Nothing says for which batch the rate is.
    """
    if _governs_rate(cfg):
        batch = cfg.get('lr_base_batch', 256)
        rule = (
            f'the learning rate is base_lr * total_batch_size / {batch}' if batch else 'lr_base_batch=None forbids it'
        )
        print(f'--auto-scale-lr: not needed: {rule}')
    elif (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        cfg.auto_scale_lr.enable = True
    else:
        raise ValueError(
            '--auto-scale-lr: this config states a learning rate and not for which batch: set '
            'auto_scale_lr.base_batch_size, or state total_batch_size and base_lr, for 256 images, in a config of yours'
        )


def _governs_rate(cfg: Config) -> bool:
    """Whether ``base_lr`` is our key, and no variable of another toolbox's config."""
    return cfg.get('base_lr') is not None and cfg.get('total_batch_size') is not None


def _lr(cfg: Config, value: float) -> Dict[str, Any]:
    names = names_of(cfg.get('optim_wrapper'))
    if not names:
        raise ValueError(f'--lr {value:g}: this config has no optim_wrapper with an optimizer')
    own = [f'optim_wrapper.{name}.base_lr' for name in names if name and 'base_lr' in cfg.optim_wrapper[name]]
    if own and _governs_rate(cfg):
        raise ValueError(f'--lr {value:g}: the optimizers have rates of their own: set base_lr and {", ".join(own)}')
    if _governs_rate(cfg):
        return dict(base_lr=value)
    return {f'{optimizer_path(name)}.optimizer.lr': value for name in names}


def _batch(cfg: Config, value: int) -> Dict[str, Any]:
    if cfg.get('total_batch_size') is None:
        raise ValueError(
            f'--batch-size {value}: this config has no total_batch_size: set train_dataloader.batch_size, images in '
            'each process, by --cfg-options'
        )
    return dict(total_batch_size=value)


def _epochs(cfg: Config, value: int) -> Dict[str, Any]:
    if cfg.get('max_epochs') is None:
        key = next((key for key in ('max_iters', 'train_cfg.max_iters') if stated(cfg, key) is not ABSENT), None)
        length = f'its length is {key}, in steps' if key else 'set train_cfg.max_epochs and the ends of param_scheduler'
        raise ValueError(f'--epochs {value}: this config has no max_epochs: {length}: --cfg-options')
    lengths = [] if 'warmup_epochs' in cfg else list(_lengths(cfg))
    if lengths:
        raise ValueError(
            f'--epochs {value}: max_epochs does not govern the schedule of this config, which has no warmup_epochs. '
            f'Set by --cfg-options max_epochs={value} and what fits it: {" ".join(lengths)}'
        )
    return dict(max_epochs=value)


def _lengths(cfg: Config) -> Iterator[str]:
    """Lengths in epochs that the schedulers of a config state, as ``key=value``."""
    for _, entries in schedulers(cfg):
        for path, entry in entries.items():
            for key in ('begin', 'end', 'T_max', 'milestones'):
                if entry.get('by_epoch', True) and entry.get(key):
                    yield f'{path}.{key}={entry[key]}'


def _workers(cfg: Config, value: int) -> Dict[str, Any]:
    if value < 0:
        raise ValueError(f'--workers {value}: 0 (the training process loads images itself) or more')
    found: Dict[str, Any] = {}
    for name in LOADERS:
        loader = cfg.get(name)
        if loader:
            found[f'{name}.num_workers'] = value
            if value == 0 and loader.get('persistent_workers'):
                found[f'{name}.persistent_workers'] = False
            if value == 0 and loader.get('prefetch_factor') is not None:  # torch has none without workers
                found[f'{name}.prefetch_factor'] = None
    return found


def _image_size(cfg: Config, value: int) -> Dict[str, Any]:
    key = dict(segmentor='crop_size', detector='image_size', landmarks='image_size').get(our_task(cfg) or '')
    if key and cfg.get(key) is not None:
        return {key: value}
    raise ValueError(
        f'--image-size {value}: sizes of this config are stated by its parts. Set them by --cfg-options: '
        + ' '.join(f'{key}={value}' for key in _sizes(cfg))
    )


def _sizes(cfg: Config) -> List[str]:
    """Keys that state sizes: of the encoders, and of the steps of pipelines."""
    model = cfg.get('model') or {}
    keys = [f'model.{part}.img_size' for part in ('backbone', 'generator') if 'img_size' in (model.get(part) or {})]
    for name in LOADERS:
        path = f'{name}.dataset'
        while isinstance(stated(cfg, f'{path}.dataset'), dict):  # inside wrappers
            path += '.dataset'
        pipeline = stated(cfg, f'{path}.pipeline')
        for place, step in enumerate(pipeline if isinstance(pipeline, (list, tuple)) else ()):
            keys += [
                f'{path}.pipeline.{place}.{key}' for key in ('size', 'crop_size', 'scale') if _is_size(step.get(key))
            ]
    return keys


def _is_size(value: Any) -> bool:
    return isinstance(value, int) or (
        isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(side, int) for side in value)
    )


_RULES = dict(
    lr=_lr,
    batch_size=_batch,
    epochs=_epochs,
    seed=lambda cfg, value: {'randomness.seed': value},
    workers=_workers,
    image_size=_image_size,
)
