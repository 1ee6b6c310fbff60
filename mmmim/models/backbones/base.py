"""Base class of the encoders, and loading a checkpoint into them."""

from typing import Any, Dict, List, Optional, Tuple, Union

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...checkpoint.encoder import EncoderFile, LoadReport, fill_encoder
from ...checkpoint.read import AnyPath
from ..layers.blocks import layer_depth


class BaseEncoder(BaseModule):
    """An encoder of images of one size, with transformer ``blocks`` in timm's names.

    Subclasses set these attributes; ``img_size``, ``patch_size`` and ``grid_size`` are (height, width). ``frozen`` are
    the modules that are not trained: a tuple, so that they are not registered a second time. Parameters of a checkpoint
    that begin with ``left_out`` are not loaded.
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
    left_out = ''

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
        self, checkpoint: Union[AnyPath, Dict[str, Any], EncoderFile], prefix: Optional[str] = None, **cfg: Any
    ) -> LoadReport:
        """Load a checkpoint; arguments and report as of :func:`~mmmim.checkpoint.encoder.fill_encoder`."""
        new = self.new_parameters()
        report = fill_encoder(self, checkpoint, prefix, new=new, fit=self.fit_parameter, left_out=self.left_out, **cfg)
        if new:
            print_log(self.about_new(report.found), cfg.get('logger'))
        return report

    def new_parameters(self) -> List[str]:
        """Names of parameters that an encoder's checkpoint may lack; they keep their values then."""
        return []

    def about_new(self, found: List[str]) -> str:
        """A sentence on new parameters, of which a file had those that are ``found``."""
        return f'{len(found)} of {len(self.new_parameters())} new parameters are in the file.'

    def fit_parameter(self, name: str, value: Tensor) -> Tensor:
        """One of the new parameters from a checkpoint of a dense model, resized to the shape here."""
        return value

    def check_images(self, images: Tensor) -> None:
        """Raises ValueError for ``[B, C, H, W]`` of another size than the encoder was built for."""
        if tuple(images.shape[1:]) != (self.in_chans, *self.img_size):
            raise ValueError(
                f'the backbone was built for images of {self.in_chans}x{self.img_size[0]}x'
                f'{self.img_size[1]} (channels, height, width) and got {list(images.shape[1:])}. Let the '
                'crop in the data pipeline and the `img_size` and `in_chans` of the backbone agree'
            )
