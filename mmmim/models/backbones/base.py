"""Base class of the encoders, and loading a checkpoint into them."""

from os import PathLike
from typing import Any, Callable, Collection, Dict, List, Tuple, Union

import torch
from mmengine.model import BaseModule
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ...checkpoint.encoder import fill_encoder
from ...checkpoint.read import AnyPath
from ...checkpoint.schemes import StateDict, unwrap
from ..layers.blocks import layer_depth


class BaseEncoder(BaseModule):
    """An encoder of images of one size, with transformer ``blocks`` in timm's names.

    Subclasses set these attributes; ``img_size``, ``patch_size`` and ``grid_size`` are (height, width). ``frozen`` are
    the modules that are not trained: a tuple, so that they are not registered a second time.
    """

    img_size: Tuple[int, int]
    patch_size: Tuple[int, int]
    grid_size: Tuple[int, int]
    in_chans: int
    embed_dim: int
    num_prefix_tokens: int  # all that are not patches: class tokens, then registers
    num_register_tokens: int = 0
    blocks: nn.ModuleList
    frozen: Tuple[nn.Module, ...] = ()

    def train(self, mode: bool = True) -> 'BaseEncoder':
        """Training mode, except for frozen parts, which stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """``(layer, number of layers)`` of a parameter, for layer-wise learning rate decay."""
        return layer_depth(param_name, prefix, len(self.blocks))

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint, once; without one, leave the constructor's initialisation as it is."""
        if not self.is_init and self.init_cfg:
            cfg = dict(self.init_cfg)
            if cfg.pop('type') != 'Pretrained':
                raise ValueError(
                    f"{type(self).__name__} initialises itself; init_cfg can only be of type 'Pretrained', not {cfg}"
                )
            cfg.pop('map_location', None)  # MMEngine's third key; weights are read on the CPU and copied
            self.load_pretrained(**cfg)
        self._is_init = True

    def load_pretrained(
        self, checkpoint: Union[AnyPath, Dict[str, Any]], prefix: str = 'backbone.', **cfg: Any
    ) -> None:
        """Load a checkpoint; arguments as in :func:`~mmmim.checkpoint.encoder.fill_encoder`."""
        fill_encoder(self, checkpoint, prefix, **cfg)

    def check_images(self, images: Tensor) -> None:
        """Raises ValueError for ``[B, C, H, W]`` of another size than the encoder was built for."""
        if tuple(images.shape[1:]) != (self.in_chans, *self.img_size):
            raise ValueError(
                f'the backbone was built for images of {self.in_chans}x{self.img_size[0]}x'
                f'{self.img_size[1]} (channels, height, width) and got {list(images.shape[1:])}. Let the '
                'crop in the data pipeline and the `img_size` and `in_chans` of the backbone agree'
            )


def fill_all_but(
    encoder: BaseEncoder,
    new: Collection[str],
    checkpoint: Union[AnyPath, Dict[str, Any]],
    prefix: str = 'backbone.',
    fit: Callable[[str, Tensor], Tensor] = lambda name, value: value,
    **cfg: Any,
) -> List[str]:
    """:func:`~mmmim.checkpoint.encoder.fill_encoder`, completely or not at all, except for the parameters named in ``new``.

    Those are loaded if the file has them (from a dense model), and keep their values otherwise.

    Args:
        fit: Resizes a parameter of the file, given its name, to the encoder's shape.

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
    """View of an encoder without some of its parameters."""

    def __init__(self, encoder: BaseEncoder, names: Collection[str]) -> None:
        self.encoder, self.names = encoder, names
        self.grid_size, self.num_prefix_tokens = encoder.grid_size, encoder.num_prefix_tokens

    def state_dict(self) -> StateDict:
        return {name: value for name, value in self.encoder.state_dict().items() if name not in self.names}

    def load_state_dict(self, state_dict: StateDict, strict: bool = True) -> None:
        own = {name: value for name, value in self.encoder.state_dict().items() if name in self.names}
        self.encoder.load_state_dict({**state_dict, **own}, strict=strict)
