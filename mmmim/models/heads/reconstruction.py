"""Losses that compare a prediction for each patch with its target."""

from typing import Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional as F

from ...registry import MODELS
from ..build import check_choice
from ..masking import PatchMask


class PatchLossHead(BaseModule):
    """Average of a loss per patch over the removed patches, over all, or over the visible ones.

    Args:
        loss_on: ``'masked'`` (MAE's default), ``'all'`` (its slides: about 0.5% less accurate), or ``'visible'``, for
            targets that are not in the input, such as features of another network: then a predictor needs no decoder.

    Attributes:
        discrete: Whether the target is class indices ``[B, L]``.
    """

    discrete = False

    def __init__(self, loss_on: str = 'masked', init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        check_choice('loss_on', loss_on, ('masked', 'all', 'visible'))
        self.loss_on = loss_on

    def patch_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``[B, L, D], target -> [B, L]``."""
        raise TypeError(f'{type(self).__name__} does not define patch_loss')

    def loss_per_image(self, prediction: Tensor, target: Tensor, mask: PatchMask) -> Tensor:
        """``[B]``, the mean over the counted patches of each image."""
        loss = self.patch_loss(prediction, target)
        if self.loss_on == 'all':
            return loss.mean(dim=1)
        weight = mask.mask.to(loss.dtype)
        weight = 1 - weight if self.loss_on == 'visible' else weight
        return (loss * weight).sum(1) / weight.sum(1)

    def loss(self, prediction: Tensor, target: Tensor, mask: PatchMask) -> Tensor:
        """``prediction [B, L, D]``, the target's patches and the mask to a scalar.

        Every image removes the same number of patches, so that the mean over images is the mean over all patches.
        """
        return self.loss_per_image(prediction, target, mask).mean()


@MODELS.register_module()
class ReconstructionHead(PatchLossHead):
    """Mean squared error (MAE), or mean absolute error, with ``[B, L, D]`` targets.

    Args:
        loss_on: ``'masked'`` or ``'all'``.
        norm: ``'l2'`` (squared error) or ``'l1'``.
        patch_reduction: ``'mean'`` over the values of a patch (MAE's code), or their ``'sum'`` (CMAE's Eq. 5 as
            printed, whose sum is divided by the number of patches alone).
    """

    def __init__(
        self, loss_on: str = 'masked', norm: str = 'l2', patch_reduction: str = 'mean', init_cfg: Optional[dict] = None
    ) -> None:
        super().__init__(loss_on, init_cfg)
        check_choice('norm', norm, ('l1', 'l2'))
        check_choice('patch_reduction', patch_reduction, ('mean', 'sum'))
        self.norm, self.patch_reduction = norm, patch_reduction

    def patch_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        # at least in float32, also if networks run in bf16. The backward pass needs the difference alone: F.mse_loss
        # would keep prediction and target for it
        dtype = torch.promote_types(target.dtype, torch.float32)
        error = prediction.to(dtype) - target.to(dtype)
        error = error.square() if self.norm == 'l2' else error.abs()
        return error.mean(dim=-1) if self.patch_reduction == 'mean' else error.sum(dim=-1)


@MODELS.register_module()
class TokenHead(PatchLossHead):
    """Cross-entropy with discrete tokens ``[B, L]`` (MAE, Tables 1d and 7: dVAE tokens; CrossMAE, section 3.2)."""

    discrete = True

    def patch_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        logits = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction='none').reshape(target.shape)
