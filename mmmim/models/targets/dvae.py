"""Discrete tokens of a pre-trained variational autoencoder."""

from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...deferred import leave_out_multimodal
from ...registry import MODELS
from ..build import key_of
from ..mmcv_ops import provide_ops
from .base import BaseTarget
from .network import fill_network, read_weights

NAME = 'a DALL-E encoder'


@MODELS.register_module()
class DALLETarget(BaseTarget):
    """Tokens of DALL-E's discrete VAE (BEiT; MAE, Tables 1d and 7), ``[B, L]`` in 0..8191.

    mmpretrain's ``DALLEEncoder`` computes them. It divides the image by 8, so the image is resized until one token
    falls on each patch.

    Args:
        grid_size: (h, w) patches (filled in by the algorithm).
        weights: Path of the encoder's state dict, in mmpretrain's naming. The file that goes with mmpretrain's BEiT
            configs is ``dalle_encoder.pth``; see there for where to download it.

    Raises:
        FileNotFoundError: No weights at this path.
        RuntimeError: The file is no such encoder.
    """

    out_dim = 8192
    discrete = True

    def __init__(self, grid_size: Tuple[int, int], weights: str, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        state = read_weights(
            weights,
            NAME,
            f'DALLETarget needs the weights of the DALL-E encoder, and there is no file {weights!r}. Download '
            "dalle_encoder.pth, which mmpretrain's BEiT configs name, and set "
            f'{key_of("weights", "target")} to its path',
        )
        leave_out_multimodal()
        provide_ops(required=False)
        from mmpretrain.models.selfsup import DALLEEncoder  # slow to import, and rarely wanted

        self.grid_size = tuple(grid_size)
        self.encoder = DALLEEncoder()
        fill_network(self.encoder, state, weights, NAME, exact=True)
        self.encoder.requires_grad_(False)
        self.set_image_statistics((0.0,) * 3, (255.0,) * 3)

    def set_image_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != 3:
            raise ValueError('DALLETarget takes images of 3 channels')
        for name, value in (('mean', mean), ('std', std)):
            self.register_buffer(f'image_{name}', torch.tensor(value).reshape(1, 3, 1, 1) / 255, persistent=False)

    def train(self, mode: bool = True) -> 'DALLETarget':
        """Always in evaluation mode: it is a fixed function."""
        return super().train(False)

    def compute(self, images: Tensor) -> Tensor:
        images = (images * self.image_std + self.image_mean).clamp(0, 1)
        size = tuple(8 * side for side in self.grid_size)
        images = F.interpolate(images, size, mode='bicubic', antialias=True, align_corners=False).clamp(0, 1)
        # the VAE was trained on pixels squeezed into [0.1, 0.9] (its "logit-Laplace" map)
        logits = self.encoder(images * 0.8 + 0.1)
        return logits.argmax(dim=1).flatten(1)
