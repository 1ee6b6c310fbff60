"""One encoder for both players of a method, or one for each."""

from copy import deepcopy
from typing import Any, Dict

from torch import nn

from ..naming import StateDict
from .adversarial import DISCRIMINATOR, GENERATOR, PLAYERS, check_choice
from .algorithms.base import BaseAlgorithm
from .backbones.base import BaseEncoder
from .build import build_part


class TwoEncoders(BaseAlgorithm):
    """An algorithm with a generator and a discriminator of the same architecture.

    The encoder that is kept is ``backbone``; where there is another, it is ``generator_backbone`` or
    ``discriminator_backbone``.
    """

    def share_encoder(self, backbone: Any, sharing: str, export: str) -> None:
        """Add the second encoder where there is one.

        Args:
            backbone: What ``self.backbone`` was built from.
            sharing: ``'shared'`` or ``'separate'``.
            export: Of separate ones, which is ``backbone``: ``'generator'`` or ``'discriminator'``.

        Raises:
            ValueError: Another value.
        """
        check_choice('sharing', sharing, ('shared', 'separate'))
        check_choice('export', export, PLAYERS)
        self.sharing, self.export = sharing, export
        if sharing == 'separate':
            other = deepcopy(backbone) if isinstance(backbone, nn.Module) else build_part(backbone, 'backbone')
            self.add_module(f'{_other(export)}_backbone', other)

    def encoder_name(self, player: str) -> str:
        """``'backbone'``, or the name of the one that is not kept."""
        name = f'{player}_backbone'
        return name if name in self._modules else 'backbone'

    def encoder_of(self, player: str) -> BaseEncoder:
        return self._modules[self.encoder_name(player)]

    def check_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Raises ValueError for the checkpoint of two encoders where this model has one, or keeps the other one."""
        parts = {name.partition('.')[0] for name in state_dict}
        for player in PLAYERS:
            if f'{player}_backbone' in parts - set(self._modules):
                raise ValueError(
                    "the checkpoint has an encoder for each player (model.sharing='separate', "
                    f"model.export='{_other(player)}'), this model has sharing='{self.sharing}', "
                    f"export='{self.export}': build it alike. To start from one of the two encoders: backbone.init_cfg="
                    f"dict(type='Pretrained', checkpoint=PATH, prefix='backbone.'), or prefix='{player}_backbone.'"
                )

    def complete_state_dict(self, state_dict: StateDict) -> None:
        """A checkpoint with one encoder (MAE's, or a shared one): both players start with it."""
        super().complete_state_dict(state_dict)
        for name in self.state_dict():
            part, _, rest = name.partition('.')
            if part.endswith('_backbone') and name not in state_dict and f'backbone.{rest}' in state_dict:
                state_dict[name] = state_dict[f'backbone.{rest}'].clone()

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # not a hook of `load_state_dict`: MMEngine calls this method directly
        self.check_state_dict({name[len(prefix) :]: None for name in state_dict if name.startswith(prefix)})
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _other(player: str) -> str:
    return DISCRIMINATOR if player == GENERATOR else GENERATOR
