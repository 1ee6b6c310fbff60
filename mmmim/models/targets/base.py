"""Base class of reconstruction targets."""

from typing import Iterable, Optional, Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..backbones.base import BaseEncoder


class BaseTarget(BaseModule):
    """A function of the images that a method predicts: ``target(images) -> Tensor``, without gradient.

    Attributes:
        out_dim: Values (or classes) that a patch's prediction must have.
        needs_fit: Whether :meth:`fit` has to see images before training.
        paints_pixels: Whether :meth:`to_pixels` gives patches that can be shown.
        uses_original_statistics: Whether :meth:`to_pixels` takes the mean and variance of the original patch.
        moves: Whether it changes in training, as a momentum encoder does.
        discrete: Whether it gives class indices ``[B, L]``, for ``TokenHead``, and not values ``[B, L, out_dim]``.
    """

    out_dim: int
    paints_pixels = False
    uses_original_statistics = False
    moves = False
    discrete = False

    @property
    def needs_fit(self) -> bool:
        return False

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Learn what the target needs from normalised images ``[B, C, H, W]``; most targets need nothing."""

    def follow(self, encoder: BaseEncoder, projector: Optional[nn.Module] = None, has_predictor: bool = False) -> None:
        """Called once by the algorithm, with its encoder, the projector that it has behind it, and whether a predictor
        will come. :meth:`follow_predictors` is called when there are any, which need the target's widths."""

    def follow_predictors(self, predictors: Sequence[nn.Module]) -> None:
        """See :meth:`follow`."""

    def reset(self) -> None:
        """Called once the encoder has its first weights; then :meth:`update`, after each optimizer step."""

    def update(self) -> None:
        """See :meth:`reset`."""

    def to_pixels(self, prediction: Tensor, images: Tensor) -> Optional[Tensor]:
        """Prediction ``[B, L, out_dim]`` as normalised pixels ``[B, L, P*P*C]``, or None."""
        return None

    def set_image_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the mean and std of the image normalisation, in units of 0..255; called once by the algorithm."""

    def compute(self, images: Tensor) -> Tensor:
        raise TypeError(f'{type(self).__name__} does not define compute')

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        # a target is exact: in full precision also where the model computes in bf16
        with torch.autocast(images.device.type, enabled=False):
            return self.compute(images)
