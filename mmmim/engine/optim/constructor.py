"""Parameter groups that an optimizer can update in one go."""

import logging
from contextlib import contextmanager
from typing import Iterator, List, Optional

from mmengine.logging import MMLogger, print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ...registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with its one group for each parameter merged into one for each setting.

    Fused and foreach optimizers work on a group at a time: a ViT-B has 250 parameters and needs 2 groups. Parameters
    that are fixed (sine-cosine positions) are left out. ``paramwise_cfg`` is MMEngine's.
    """

    def add_params(
        self, params: List[dict], module: nn.Module, prefix: str = '', is_dcn_module: Optional[int] = None
    ) -> None:
        if prefix:
            super().add_params(params, module, prefix=prefix, is_dcn_module=is_dcn_module)
            return
        with _quiet():  # the parent writes a line for each parameter
            super().add_params(params, module, prefix=prefix, is_dcn_module=is_dcn_module)
        params[:] = merge_groups(params)
        log_groups(params)


def log_groups(groups: List[dict]) -> None:
    """A line for each group: how many parameters, and what is set for them."""
    for group in groups:
        settings = ', '.join(f'{key}={value}' for key, value in group.items() if key != 'params')
        count = sum(p.numel() for p in group['params'])
        print_log(
            f'Optimizer group: {len(group["params"])} parameters, {count:,} values; {settings or "defaults"}', 'current'
        )


def merge_groups(groups: List[dict]) -> List[dict]:
    """Join groups that differ in their parameters only."""
    merged: dict = {}
    for group in groups:
        settings = {key: value for key, value in group.items() if key != 'params'}
        merged.setdefault(repr(sorted(settings.items())), dict(params=[], **settings))['params'] += group['params']
    return list(merged.values())


@contextmanager
def _quiet() -> Iterator[None]:
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
