"""Targets made of pixels: of the patch, its principal components, a blurred image."""

from typing import Any, Iterable, Optional, Tuple

import torch
from torch import Tensor

from ...registry import MODELS
from ..layers.blur import blur_matrix
from ..patches import Size, denormalize_patches, normalize_patches, patchify, to_2tuple
from .base import BaseTarget


@MODELS.register_module()
class PixelTarget(BaseTarget):
    """The patches themselves, ``[B, L, P*P*C]``.

    Args:
        patch_size: P (filled in by the algorithm).
        in_chans: C (filled in by the algorithm).
        norm_pix: Normalise each patch by its own mean and variance (MAE, Table 1d "pixel (w/ norm)").
    """

    paints_pixels = True

    def __init__(
        self, patch_size: Size = 16, in_chans: int = 3, norm_pix: bool = True, init_cfg: Optional[dict] = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.patch_size, self.norm_pix = to_2tuple(patch_size), norm_pix
        self.out_dim = self.patch_size[0] * self.patch_size[1] * in_chans
        self.uses_original_statistics = norm_pix

    def compute(self, images: Tensor) -> Tensor:
        patches = patchify(images, self.patch_size)
        return normalize_patches(patches) if self.norm_pix else patches

    def to_pixels(self, prediction: Tensor, images: Tensor) -> Tensor:
        prediction = prediction.to(images.dtype)
        if not self.norm_pix:
            return prediction
        return denormalize_patches(prediction, patchify(images, self.patch_size))


@MODELS.register_module()
class PCATarget(BaseTarget):
    """The largest principal components of patches (MAE, Table 1d "PCA"), ``[B, L, num_components]``.

    The basis is fitted once, before training, on patches of the training images; it is a buffer, so that checkpoints
    carry it and a resumed run does not fit again. The components are not whitened.

    Args:
        patch_size: P (filled in by the algorithm).
        in_chans: C (filled in by the algorithm).
        num_components: How many are predicted. The slides do not say; 96 of 768 by default.

    Raises:
        RuntimeError: Used before :meth:`fit`, or before a fitted one was loaded.
    """

    paints_pixels = True

    def __init__(
        self, patch_size: Size = 16, in_chans: int = 3, num_components: int = 96, init_cfg: Optional[dict] = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.patch_size = to_2tuple(patch_size)
        dim = self.patch_size[0] * self.patch_size[1] * in_chans
        if not 0 < num_components <= dim:
            raise ValueError(f'num_components={num_components} must lie between 1 and the {dim} values of a patch')
        self.out_dim = num_components
        self.register_buffer('mean', torch.zeros(dim))
        self.register_buffer('basis', torch.zeros(dim, num_components))
        self.register_buffer('fitted', torch.zeros((), dtype=torch.bool))
        self._is_fitted = False  # the buffer's value, to be read without waiting for the device

    @property
    def needs_fit(self) -> bool:
        return not self._is_fitted

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        # not a hook of `load_state_dict`: MMEngine calls this method directly
        super()._load_from_state_dict(*args, **kwargs)
        self._is_fitted = not self.fitted.is_meta and bool(self.fitted)

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Fit mean and basis on all patches of the batches ``[B, C, H, W]``.

        Raises:
            ValueError: Fewer patches than components.
        """
        total: Optional[Tensor] = None
        outer: Optional[Tensor] = None
        count = 0
        for images in batches:
            patches = patchify(images, self.patch_size).flatten(0, 1).double()
            total = patches.sum(0) if total is None else total + patches.sum(0)
            outer = patches.T @ patches if outer is None else outer + patches.T @ patches
            count += len(patches)
        if total is None or outer is None or count < self.out_dim:
            raise ValueError(f'{count} patches are too few to fit {self.out_dim} principal components')
        mean = total / count
        _, vectors = torch.linalg.eigh(outer / count - mean[:, None] * mean)  # ascending
        basis = vectors.flip(1)[:, : self.out_dim]
        # an eigenvector's sign is arbitrary: the largest entry is made positive, the same on every machine
        sign = basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
        self.mean.copy_(mean)
        self.basis.copy_(basis * sign)
        self.fitted.fill_(True)
        self._is_fitted = True

    def compute(self, images: Tensor) -> Tensor:
        if self.needs_fit:
            raise RuntimeError(
                'PCATarget has no basis yet: call `fit` with training images (in a config, '
                'FitTargetHook among custom_hooks does it), or load a checkpoint that carries one'
            )
        return (patchify(images, self.patch_size) - self.mean) @ self.basis

    def to_pixels(self, prediction: Tensor, images: Tensor) -> Tensor:
        return prediction.to(self.basis.dtype) @ self.basis.T + self.mean


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
