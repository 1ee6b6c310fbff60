"""What the loaders of every kind of run have in common."""

import torch
from mmengine.config import Config


def settle_loaders(cfg: Config) -> None:
    """What every loader needs: workers that outlive a signal to the process group, and memory that a GPU copies from
    while it computes."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if not loader:
            continue
        start = loader.get('worker_init_fn') or dict(type='mmmim.start_worker')
        if isinstance(start, dict) and start['type'] == 'mmmim.start_worker':  # its seed may be that of another run
            loader.worker_init_fn = dict(start, seed=cfg.randomness['seed'])
        if torch.cuda.is_available():
            loader.setdefault('pin_memory', True)
