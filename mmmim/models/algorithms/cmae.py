"""CMAE: "Contrastive Masked Autoencoders are Stronger Vision Learners" (Huang et al., 2022)."""

from typing import Any, Dict, List, Optional, Union

import torch
from torch import Tensor, nn

from ... import randomness
from ...registry import MODELS
from ...structures import DataSample
from ..backbones.base import BaseEncoder
from ..build import build_part, check_choice
from ..heads import ContrastiveHead, PatchLossHead
from ..layers.ema import momentum_copy, momentum_pairs, momentum_reset, momentum_update
from ..masking import Masking, PatchMask
from ..necks import Projector
from ..necks.pool_tokens import pool_tokens
from ..noise import draw_noise
from ..targets import BaseTarget
from .base import BaseAlgorithm


@MODELS.register_module()
class CMAE(BaseAlgorithm):
    """MAE on one view, and a contrastive loss of its completed features with those of a whole second view.

    ``neck``, ``target`` and ``head`` are MAE's pixel decoder, pixel target and reconstruction loss. The two views come
    from the data pipeline (``PixelShift``, ``TwoCrops``), the colour augmentation of the second from
    ``ViewPreprocessor``.

    Where the paper is silent, the defaults are the authors' public code's: projector and predictor of 1536 and 256.
    Where code and paper differ, the defaults are the paper's; configs/cmae/official has the code's.

    Args:
        feature_decoder: G_f of Eq. 4, such as a ``MAEDecoder`` of 2 blocks, or a ``SharedDecoder`` (Table 4c). None:
            the mean of the visible patches is used (Table 4c, 0 blocks).
        projector: Config of the projection head of both branches.
        predictor: Config of the prediction head, on the online side only.
        contrast_head: Config of the contrastive loss (Eq. 6-7).
        contrast_weight: lambda_c of Eq. 8. With 0 the losses are MAE's.
        momentum: mu of the exponential moving average, fixed in the paper; ``CosineMomentumHook`` raises it to 1.
        feature_out: Output width of the feature decoder: ``'embed_dim'``, the target encoder's ("to align with the
            output of the target encoder"), or ``'pixels'`` (the authors' code).
        target_backbone: Keys in which the target encoder differs from ``backbone``: ``dict(final_norm=False)`` is the
            authors' code.
        target_mask_ratio: Share of patches that the target encoder does not see (Table 4e; 0 is best).
        **kwargs: Arguments of :class:`BaseAlgorithm`.

    Raises:
        ValueError: The target encoder's parameters differ in shape from the online encoder's.
    """

    needs = ('neck', 'target', 'head')
    neck: nn.Module
    target: BaseTarget
    head: PatchLossHead
    feature_decoder: Optional[nn.Module]
    projector: Projector
    predictor: Projector
    contrast_head: ContrastiveHead

    def __init__(
        self,
        feature_decoder: Optional[dict],
        projector: dict,
        predictor: dict,
        contrast_head: dict,
        contrast_weight: float = 1.0,
        momentum: float = 0.996,
        feature_out: str = 'embed_dim',
        target_backbone: Optional[dict] = None,
        target_mask_ratio: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice('feature_out', feature_out, ('embed_dim', 'pixels'))
        if contrast_weight < 0 or not 0 <= momentum <= 1:
            raise ValueError(
                f'contrast_weight={contrast_weight} must not be negative, and momentum={momentum} must lie in [0, 1]'
            )
        self.contrast_weight, self.momentum = contrast_weight, momentum
        dim = self.sizes['in_dim']
        out_dim = dim if feature_out == 'embed_dim' else self.sizes['out_dim']
        self.feature_decoder = build_part(
            feature_decoder, 'feature_decoder', **{**self.sizes, 'out_dim': out_dim, 'decoder': self.neck}
        )
        if feature_decoder is not None and out_dim != dim:
            raise ValueError(
                f"feature_out='{feature_out}' gives {out_dim} values a patch, but the target encoder's "
                f"features have {dim}, and one projector serves both: use feature_out='embed_dim', or a "
                'patch with as many values as the encoder is wide'
            )
        self.projector = build_part(projector, 'projector', in_dim=dim)
        self.predictor = build_part(predictor, 'predictor', in_dim=self.projector.out_dim)
        self.contrast_head = build_part(contrast_head, 'contrast_head')
        self.target_masking: Optional[Masking] = None
        if target_mask_ratio:
            self.target_masking = Masking('random', target_mask_ratio, self.backbone.grid_size)
        self.target_backbone = self._build_target(kwargs['backbone'], target_backbone or {})
        self.target_projector = momentum_copy(self.projector)
        self._reset_target()

    def _build_target(self, backbone: Union[dict, BaseEncoder], changes: dict) -> BaseEncoder:
        if isinstance(backbone, nn.Module):
            return momentum_copy(backbone)
        cfg = {**backbone, **changes}
        cfg.pop('init_cfg', None)  # it is initialised as a copy of the online encoder
        target: BaseEncoder = build_part(cfg, 'target_backbone').requires_grad_(False)
        momentum_pairs(target, self.backbone)
        return target

    def init_weights(self) -> None:
        """Initialise the target branch as a copy of the online branch, also after that has loaded a checkpoint."""
        super().init_weights()
        self._reset_target()

    def _reset_target(self) -> None:
        momentum_reset(self.target_backbone, self.backbone)
        momentum_reset(self.target_projector, self.projector)

    def complete_state_dict(self, state_dict: Dict[str, Tensor]) -> None:
        """Initialise the target branch as a copy of a checkpoint's encoder that has no target branch (MAE's)."""
        super().complete_state_dict(state_dict)
        for name in self.state_dict():
            online = name.removeprefix('target_')
            if name not in state_dict and name != online and online in state_dict:
                state_dict[name] = state_dict[online].clone()

    def check_batch(self, size: int, repeat_crops: int = 1) -> None:
        """Raises ValueError for a batch of one image, which has no negatives and no batch norm variance; and for
        several crops of an image, which would be each other's negatives."""
        if repeat_crops > 1 and self.contrast_head.kind == 'infonce':
            raise ValueError(
                f'repeat_crops={repeat_crops}: in the contrast of CMAE crops of one image would be pushed '
                "apart. Leave it at 1, or use contrast_head.kind='byol'"
            )
        if size < 2:
            raise ValueError(
                f'CMAE needs batches of at least 2 images over all processes: with {size} there is '
                'nothing to contrast with. Raise total_batch_size or max_batch_per_device'
            )

    def loss(
        self,
        inputs: Union[Tensor, List[Tensor]],
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
    ) -> Dict[str, Tensor]:
        """``inputs``: the online and the target view, each ``[B, C, H, W]``, normalised."""
        if isinstance(inputs, Tensor) or len(inputs) != 2:
            raise ValueError(
                'CMAE trains on two views of each image: let the pipeline make them, by PixelShift or TwoCrops'
            )
        online, second = inputs
        mask = self.draw_mask(online, data_samples, noise)
        tokens = self.backbone(online, mask)  # z_s^v, Eq. 1: visible patches only, [B, 1 + L_v, D]

        prediction = self.predict_patches(tokens, mask)  # y'_m, Eq. 3: [B, L, P*P*C]
        reconstruction = self.head.loss(prediction, self.target(online), mask)  # Eq. 5

        query = self.predictor(self.projector(self._complete(tokens, mask)))  # y_s^p: [B, D_p]
        key = self._target_features(second, data_samples)  # z_t^p: [B, D_p], without gradient
        contrast, metrics = self.contrast_head.loss(query, key)  # Eq. 6-7
        return dict(loss_recon=reconstruction, loss_contrast=self.contrast_weight * contrast, **metrics)  # Eq. 8

    def _complete(self, tokens: Tensor, mask: PatchMask) -> Tensor:
        """y_s of Eq. 4: the mean over all patches, removed ones filled in by the feature decoder, ``[B, D]``."""
        if self.feature_decoder is None:
            return pool_tokens(tokens, self.backbone.num_prefix_tokens, 'mean')
        return self.feature_decoder(tokens, mask).mean(dim=1)

    @torch.no_grad()
    def _target_features(self, view: Tensor, data_samples: Optional[List[DataSample]]) -> Tensor:
        """Eq. 2 and the target's projection: ``[B, D_p]``."""
        mask = None
        if self.target_masking is not None:
            shape = self.target_masking.noise_shape
            mask = self.target_masking(draw_noise(view, data_samples, shape, randomness.TARGET_MASK))
        tokens = self.target_backbone(view, mask)
        return self.target_projector(pool_tokens(tokens, self.backbone.num_prefix_tokens, 'mean'))

    def after_step(self) -> None:
        """Update the target: ``theta_t <- mu theta_t + (1 - mu) theta_s`` (section 3.1)."""
        super().after_step()
        self.update_target()

    def update_target(self) -> None:
        momentum_update(self.target_backbone, self.backbone, self.momentum)
        momentum_update(self.target_projector, self.projector, self.momentum)

    def predict(
        self, inputs: Any, data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> List[DataSample]:
        """Reconstruct the online view as MAE does; one view is enough."""
        view = inputs if isinstance(inputs, Tensor) else inputs[0]
        return super().predict(view, data_samples, noise)
