"""Filling an encoder that has parameters which no pre-training knows."""
from typing import Collection, Dict

from torch import Tensor, nn

from ...translate import LoadReport, fill_encoder


def fill_all_but(encoder: nn.Module, new: Collection[str], checkpoint, prefix: str = 'backbone.', **cfg) -> LoadReport:
    """:func:`~mmmim.translate.fill_encoder`, completely or not at all, except for the parameters named in ``new``.

    These keep their values, and the file must not have them.
    """
    return fill_encoder(_Without(encoder, new), checkpoint, prefix, **cfg)


class _Without:
    """An encoder that seems not to have some of its parameters."""

    def __init__(self, encoder: nn.Module, names: Collection[str]) -> None:
        self.encoder, self.names = encoder, names
        self.grid_size, self.num_prefix_tokens = encoder.grid_size, encoder.num_prefix_tokens

    def state_dict(self) -> Dict[str, Tensor]:
        return {name: value for name, value in self.encoder.state_dict().items() if name not in self.names}

    def load_state_dict(self, state: Dict[str, Tensor], strict: bool = True) -> None:
        own = {name: value for name, value in self.encoder.state_dict().items() if name in self.names}
        self.encoder.load_state_dict({**state, **own}, strict=strict)
