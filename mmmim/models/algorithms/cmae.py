"""CMAE: "Contrastive Masked Autoencoders are Stronger Vision Learners" (Huang et al., 2022)."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from mmengine.optim import OptimWrapper
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
from .base import BaseAlgorithm, Model
from .step import Gradients, gradients, loss_scale, optimizer_step, with_gradients


class KnownContrast(NamedTuple):
    """The contrastive loss of a whole step (Eq. 6-7) and its gradients, for one of its batches.

    Attributes:
        loss: A scalar, and ``metrics`` of it for the log; without gradient.
        by_features: Its gradient with respect to the batch's y_s, ``[B, D]``, times the number of batches, because a
            step minimises the mean of their losses.
        theta: Parameters of projector and predictor, and ``by_theta`` the gradients with respect to them.
    """

    loss: Tensor
    metrics: Dict[str, Tensor]
    by_features: Tensor
    theta: List[Tensor]
    by_theta: Gradients

    def at(self, y_s: Tensor) -> Tensor:
        """The loss, with its gradients, as a function of the batch's y_s ``[B, D]``."""
        return with_gradients(self.loss, [y_s, *self.theta], [self.by_features, *self.by_theta])


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
        exact_accumulation: Contrast all images of an optimizer step with each other where it accumulates batches, for
            one more forward pass of online encoder and feature decoder. False: each batch is contrasted within itself,
            with fewer negatives, and its batch statistics in projector and predictor are its own.
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
        exact_accumulation: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice('feature_out', feature_out, ('embed_dim', 'pixels'))
        if contrast_weight < 0 or not 0 <= momentum <= 1:
            raise ValueError(
                f'contrast_weight={contrast_weight} must not be negative, and momentum={momentum} must lie in [0, 1]'
            )
        self.contrast_weight, self.momentum = contrast_weight, momentum
        self.exact_accumulation = exact_accumulation
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

    def check_batch(self, size: int, repeat_crops: int = 1, batches: int = 1) -> None:
        """Raises ValueError where a single image is contrasted, which has no negatives and no batch norm variance; and
        for several crops of an image, which would be each other's negatives."""
        if repeat_crops > 1 and self.contrast_head.kind == 'infonce':
            raise ValueError(
                f'repeat_crops={repeat_crops}: in the contrast of CMAE crops of one image would be pushed '
                "apart. Leave it at 1, or use contrast_head.kind='byol'"
            )
        if self.contrasted(size, batches) < 2:
            remedy = '' if batches == 1 else ' or max_batch_per_device, or set model.exact_accumulation=True'
            raise ValueError(
                'CMAE needs at least 2 images over all processes: with 1 there is nothing to contrast with, and no '
                f'variance for batch norm. Raise total_batch_size{remedy}'
            )

    def contrasted(self, size: int, batches: int) -> int:
        """How many images are contrasted at once: arguments of :meth:`check_batch`."""
        return size * batches if self.exact_accumulation else size

    def facts(self, size: int, batches: int) -> Dict[str, Any]:
        return dict(negatives=self.contrast_head.negatives(self.contrasted(size, batches)))

    def loss(
        self,
        inputs: Union[Tensor, List[Tensor]],
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
        contrast: Optional[KnownContrast] = None,
    ) -> Dict[str, Tensor]:
        """Of ``inputs``, the online and the target view, each ``[B, C, H, W]``, normalised.

        ``contrast`` is that of the whole step where batches accumulate. None: the images of this batch are contrasted.
        """
        online, second = two_views(inputs)
        mask = self.draw_mask(online, data_samples, noise)
        tokens = self.backbone(online, mask)  # z_s^v, Eq. 1: visible patches only, [B, 1 + L_v, D]

        prediction = self.predict_patches(tokens, mask)  # y'_m, Eq. 3: [B, L, P*P*C]
        l_r = self.head.loss(prediction, self.target(online), mask)  # Eq. 5

        y_s = self._complete(tokens, mask)  # Eq. 4: [B, D]
        if contrast is None:
            z_t = self._target_features(second, data_samples)  # Eq. 2: [B, D], without gradient
            l_c, metrics = self._compare(y_s, z_t)  # Eq. 6-7
        else:
            l_c, metrics = contrast.at(y_s), contrast.metrics
        return dict(loss_recon=l_r, loss_contrast=self.contrast_weight * l_c, **metrics)  # Eq. 8

    def _complete(self, tokens: Tensor, mask: PatchMask) -> Tensor:
        """y_s of Eq. 4: the mean over all patches, removed ones filled in by the feature decoder, ``[B, D]``."""
        if self.feature_decoder is None:
            return pool_tokens(tokens, self.backbone.num_prefix_tokens, 'mean')
        return self.feature_decoder(tokens, mask).mean(dim=1)

    @torch.no_grad()
    def _target_features(self, view: Tensor, data_samples: Optional[List[DataSample]]) -> Tensor:
        """z_t of Eq. 2: the mean over the patches of the whole view, ``[B, D]``."""
        mask = None
        if self.target_masking is not None:
            shape = self.target_masking.noise_shape
            mask = self.target_masking(draw_noise(view, data_samples, shape, randomness.TARGET_MASK))
        tokens = self.target_backbone(view, mask)
        return pool_tokens(tokens, self.backbone.num_prefix_tokens, 'mean')

    def _compare(self, y_s: Tensor, z_t: Tensor) -> Tuple[Tensor, Dict[str, Tensor]]:
        """Eq. 6-7 of both branches' features ``[B, D]``: the loss, and metrics."""
        query = self.predictor(self.projector(y_s))  # y_s^p: [B, D_p]
        with torch.no_grad():
            key = self.target_projector(z_t)  # z_t^p: [B, D_p]
        return self.contrast_head.loss(query, key)

    # ------------------------------------------------------------------------------------ accumulation: two passes

    def train_steps(
        self, batches: Sequence[dict], optim_wrapper: OptimWrapper, model: Optional[Model] = None
    ) -> Dict[str, Tensor]:
        """One optimizer step. Several batches of it give what one pass of all their images does: the contrast and its
        gradients (:meth:`contrast_of_step`) are known before each is passed with gradient."""
        if len(batches) == 1 or not self.exact_accumulation:
            return super().train_steps(batches, optim_wrapper, model)
        model = self if model is None else model

        def replay(item: Tuple[dict, KnownContrast, List[Tensor]], training: bool) -> Dict[str, Any]:
            batch, contrast, state = item
            randomness.set_generator_state(state)  # draw the same again
            return dict(self.data_preprocessor(batch, training), contrast=contrast)

        def losses(data: Dict[str, Any]) -> Dict[str, Tensor]:
            return model(**data, mode='loss')

        items = list(zip(batches, *self.contrast_of_step(batches, optim_wrapper)))
        log = optimizer_step(self, items, losses, optim_wrapper, model, replay)
        self.after_step()
        return log

    def contrast_of_step(
        self, batches: Sequence[dict], optim_wrapper: OptimWrapper
    ) -> Tuple[List[KnownContrast], List[List[Tensor]]]:
        """Eq. 6-7 over the images of all batches and of all ranks, from features without gradient.

        Projector and predictor, whose batch statistics are over all images too, are run once. So the contrast of any
        number of images needs the memory of one batch (GradCache, Gao et al., 2021, arXiv:2101.06983).

        Returns:
            The contrast and its gradients for each batch, and the state of the generators in which its pass began.
        """
        states, online, target = [], [], []
        for batch in batches:
            states.append(randomness.generator_state())
            data = self.data_preprocessor(batch, True)
            with torch.no_grad(), optim_wrapper.optim_context(self):
                y_s, z_t = self._features(**data)
            online.append(y_s)
            target.append(z_t)
        y_s = torch.cat(online)
        # float16 holds gradients only times their loss scale
        y_s = y_s.to(torch.promote_types(y_s.dtype, torch.float32)).requires_grad_()
        theta = [p for part in (self.projector, self.predictor) for p in part.parameters() if p.requires_grad]
        with optim_wrapper.optim_context(self):
            l_c, metrics = self._compare(y_s, torch.cat(target))
        scale = loss_scale(optim_wrapper, y_s.device)
        by_features, *by_theta = gradients(l_c, [y_s, *theta], scale)
        assert by_features is not None  # the loss depends on the features
        parts = (len(batches) * by_features).split([len(features) for features in online])
        return [KnownContrast(l_c.detach(), metrics, part, theta, by_theta) for part in parts], states

    def _features(
        self, inputs: List[Tensor], data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """y_s (Eq. 4) and z_t (Eq. 2), each ``[B, D]``."""
        online, second = two_views(inputs)
        mask = self.draw_mask(online, data_samples, noise)
        return self._complete(self.backbone(online, mask), mask), self._target_features(second, data_samples)

    # ------------------------------------------------------------------------------------------- the momentum encoder

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


def two_views(inputs: Any) -> Tuple[Tensor, Tensor]:
    """The online and the target view; raises ValueError where there are not two."""
    if isinstance(inputs, Tensor) or len(inputs) != 2:
        raise ValueError(
            'CMAE trains on two views of each image: let the pipeline make them, by PixelShift or TwoCrops'
        )
    return inputs[0], inputs[1]
