"""MAE: "Masked Autoencoders Are Scalable Vision Learners" (He et al., 2021)."""

from typing import Dict, List, Optional

from torch import Tensor, nn

from ...registry import MODELS
from ...structures import DataSample
from ..heads import PatchLossHead
from ..targets import BaseTarget
from .base import BaseAlgorithm


@MODELS.register_module()
class MAE(BaseAlgorithm):
    """Encode the visible patches, decode all, compare with the target on the removed ones.

    The ablations of the slides' Table 1 are choices of parts: decoder depth and width (``neck.depth``,
    ``neck.embed_dim``), an encoder with mask tokens (``backbone.mask_tokens``), the target (``PixelTarget`` with or
    without ``norm_pix``, ``PCATarget``, ``DALLETarget`` with ``TokenHead``), the sampling (``masking``,
    ``mask_ratio``) and where the loss counts (``head.loss_on``). So is the prediction of another network's features
    (``TimmTarget``, ``FeatureHead``), at removed patches by the decoder or at visible ones by a ``LinearPredictor``.
    """

    needs = ('neck', 'target', 'head')
    neck: nn.Module
    target: BaseTarget
    head: PatchLossHead

    def loss(
        self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> Dict[str, Tensor]:
        """``inputs [B, C, H, W]``, normalised. ``noise`` ``[B, L]`` (for random masking) may come from outside."""
        mask = self.draw_mask(inputs, data_samples, noise)  # remove 75% of the patches at random
        tokens = self.backbone(inputs, mask)  # encoder: visible patches only, [B, 1 + L_v, D]
        prediction = self.predict_patches(tokens, mask)  # decoder: visible patches and mask tokens, [B, L, P*P*C]
        target = self.target_of(inputs, data_samples)  # normalised pixels of each patch, [B, L, P*P*C]
        return dict(loss=self.head.loss(prediction, target, mask))  # mean squared error on the removed patches
