"""Filling an encoder that has parameters which no pre-training knows."""

from os import PathLike
from typing import Any, Callable, Collection, Dict, List, Union

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from ...naming import StateDict, unwrap
from ...safe_load import AnyPath
from ...translate import fill_encoder
from .base import BaseEncoder


def fill_all_but(
    encoder: BaseEncoder,
    new: Collection[str],
    checkpoint: Union[AnyPath, Dict[str, Any]],
    prefix: str = 'backbone.',
    fit: Callable[[str, Tensor], Tensor] = lambda name, value: value,
    **cfg: Any,
) -> List[str]:
    """:func:`~mmmim.translate.fill_encoder`, completely or not at all, except for the parameters named in ``new``.

    Those are taken from a file that has them (of a dense model), and keep their values otherwise.

    Args:
        fit: Makes a parameter of the file, of this name, one of the encoder's shape.

    Returns:
        The names in ``new`` that the file has.
    """
    if isinstance(checkpoint, (str, PathLike)):
        content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu')
    else:
        content = checkpoint
    state, found = unwrap(content), {}
    for name in new:
        key = next((key for key in (f'{prefix.rstrip(".")}.{name}', name) if key in state), None)
        if key:
            found[name] = fit(name, state.pop(key))
    fill_encoder(_Without(encoder, new), dict(state_dict=state, meta=content.get('meta')), prefix, **cfg)
    with torch.no_grad():
        for name, value in found.items():
            encoder.get_parameter(name).copy_(value)
    return list(found)


class _Without:
    """An encoder that seems not to have some of its parameters."""

    def __init__(self, encoder: BaseEncoder, names: Collection[str]) -> None:
        self.encoder, self.names = encoder, names
        self.grid_size, self.num_prefix_tokens = encoder.grid_size, encoder.num_prefix_tokens

    def state_dict(self) -> StateDict:
        return {name: value for name, value in self.encoder.state_dict().items() if name not in self.names}

    def load_state_dict(self, state_dict: StateDict, strict: bool = True) -> None:
        own = {name: value for name, value in self.encoder.state_dict().items() if name in self.names}
        self.encoder.load_state_dict({**state_dict, **own}, strict=strict)
