"""Training steps of several libraries that can be compared."""

import importlib
import warnings
from typing import Any, Callable

import torch
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS

from ..registry import MODELS
from .peers import PEERS, Peer, mae_sizes
from .timing import PhaseTimer
from .timm_classifier import is_classifier, timm_step
from .workload import Workload, build, fit_target

OURS = 'mmmim'


def is_peer(name: str) -> bool:
    """Whether a contender of that name is another library's."""
    return name in PEERS or name == 'timm'


def check_peers(names: list, cfg: Config) -> None:
    """Import the libraries, and make sure that they have the config's model.

    A classifier is compared with timm's, which is installed wherever mmmim is.

    Raises:
        ValueError: An unknown name, or a model that is neither a plain MAE nor a plain classifier.
        ImportError: A library is missing; the message has the command that installs it.
    """
    known = ('timm',) if is_classifier(cfg) else tuple(PEERS)
    for name in names:
        if name not in known:
            raise ValueError(f"--peers '{name}' is not known for this model; use {', '.join(known)}")
    if is_classifier(cfg):
        return
    if names:
        mae_sizes(cfg)
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', 'Fail to import')  # compiled operators that MAE does not use
                importlib.import_module(PEERS[name].module)
        except Exception as error:  # what a library raises at import is not only ImportError
            raise ImportError(
                f'--peers {name}: {PEERS[name].module} cannot be imported ({error}). Install it with '
                f"pip install '{PEERS[name].install}' -c requirements/constraints.txt"
            ) from error


def make_step(name: str, cfg: Config, data: dict, dtype: torch.dtype, timer: PhaseTimer) -> Callable[[Any], Any]:
    """A training step of one contender, watched by a timer.

    Ours is the algorithm's own ``train_step`` with the config's optimizers; a peer's is forward, backward and the same
    optimizer on all its parameters. Both begin with the same uint8 batch in main memory, normalised on the device.

    Args:
        name: One of ``PEERS``, or ``'timm'`` for a classifier; any other name is ours.
        cfg: A settled config.
        data: A batch, to fit a target that needs it.
    """
    if name == 'timm':
        return timm_step(cfg, dtype, timer)
    if name in PEERS:
        return _peer_step(PEERS[name], cfg, dtype, timer)
    workload = build(cfg, timer.device)
    fit_target(workload.algorithm, data)
    return watched_step(workload, timer)


def watched_step(workload: Workload, timer: PhaseTimer) -> Callable[[Any], Any]:
    """The algorithm's own step."""
    timer.watch(workload.optim_wrapper)
    return lambda batch: workload.algorithm.train_step(batch, workload.optim_wrapper)


def _peer_step(peer: Peer, cfg: Config, dtype: torch.dtype, timer: PhaseTimer) -> Callable[[Any], Any]:
    device = timer.device
    model = peer.build(mae_sizes(cfg)).to(device).train()
    preprocessor = MODELS.build(cfg.model.get('data_preprocessor') or dict(type='MIMDataPreprocessor')).to(device)
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = OPTIMIZERS.build(dict(cfg.optim_wrapper.optimizer, params=params))

    def step(batch: dict) -> None:
        images = preprocessor(batch, True)['inputs']
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = peer.loss(model, images)
        with timer.phase('backward'):
            loss.backward()
        with timer.phase('optimizer'):
            optimizer.step()
            optimizer.zero_grad()

    return step
