"""Smoothed pixels, the coarse target of CrossMAE's drawing head."""

from typing import Optional, Tuple

import torch
from torch import Tensor

from ...registry import MODELS
from ..blur import blur_matrix
from ..patches import Size, patchify, to_2tuple
from .pixels import PixelTarget


@MODELS.register_module()
class BlurredPixelTarget(PixelTarget):
    """The patches of the image blurred by a Gaussian, ``[B, L, P*P*C]``, normalised as the image is.

    Args:
        grid_size: (h, w) patches (filled in by the algorithm).
        patch_size, in_chans: Of :class:`PixelTarget` (filled in by the algorithm).
        sigma: Of the Gaussian, in pixels of an image whose shorter side is ``reference_size``: with other images it
            scales (CrossMAE: 10 at 224 px). None: no blur.
        reference_size: Pixels.

    Raises:
        ValueError: A sigma that is not above 0.
    """

    def __init__(
        self,
        grid_size: Tuple[int, int],
        patch_size: Size = 16,
        in_chans: int = 3,
        sigma: Optional[float] = 10.0,
        reference_size: float = 224,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(patch_size, in_chans, norm_pix=False, init_cfg=init_cfg)
        if sigma is not None and not sigma > 0:
            raise ValueError(
                f'sigma={sigma} must be above 0 (pixels of a {reference_size}-pixel image); sigma=None '
                'turns the blur off'
            )
        height, width = (side * patch for side, patch in zip(grid_size, to_2tuple(patch_size)))
        self.sigma = None if sigma is None else sigma * min(height, width) / reference_size
        for name, size in (('rows', height), ('columns', width)):
            matrix = None if self.sigma is None else blur_matrix(size, self.sigma).to(torch.get_default_dtype())
            self.register_buffer(name, matrix, persistent=False)

    def blur(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` to the same, smoothed."""
        return images if self.sigma is None else self.rows @ images @ self.columns.T

    def compute(self, images: Tensor) -> Tensor:
        return patchify(self.blur(images), self.patch_size)
