"""What the encoders have in common."""

from typing import Any, Dict, Tuple, Union

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...safe_load import AnyPath
from ...translate import fill_encoder
from ..blocks import layer_depth


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
    num_prefix_tokens: int
    blocks: nn.ModuleList
    frozen: Tuple[nn.Module, ...] = ()

    def train(self, mode: bool = True) -> 'BaseEncoder':
        """Training mode for what is trained: frozen parts drop nothing."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """``(layer, number of layers)`` of a parameter, for layer-wise learning rates."""
        return layer_depth(param_name, prefix, len(self.blocks))

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint, once; without one, leave the constructor's initialisation as it is."""
        if not self.is_init and self.init_cfg:
            cfg = dict(self.init_cfg)
            if cfg.pop('type') != 'Pretrained':
                raise ValueError(
                    f"{type(self).__name__} initialises itself; init_cfg can only be of type 'Pretrained', not {cfg}"
                )
            cfg.pop('map_location', None)  # MMEngine's third key; weights are read to the CPU and copied
            self.load_pretrained(**cfg)
        self._is_init = True

    def load_pretrained(
        self, checkpoint: Union[AnyPath, Dict[str, Any]], prefix: str = 'backbone.', **cfg: Any
    ) -> None:
        """Arguments: of :func:`~mmmim.translate.fill_encoder`."""
        fill_encoder(self, checkpoint, prefix, **cfg)

    def check_images(self, images: Tensor) -> None:
        """Raises ValueError for ``[B, C, H, W]`` of another size than the encoder was built for."""
        if tuple(images.shape[1:]) != (self.in_chans, *self.img_size):
            raise ValueError(
                f'the backbone was built for images of {self.in_chans}x{self.img_size[0]}x'
                f'{self.img_size[1]} (channels, height, width) and got {list(images.shape[1:])}. Let the '
                'crop in the data pipeline and the `img_size` and `in_chans` of the backbone agree'
            )
