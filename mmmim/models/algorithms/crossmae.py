"""CrossMAE: "CrossMAE: Decoupled Masked Image Modeling with Cross Prediction" (mask-then-draw, draw-then-predict)."""

from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from ...registry import MODELS
from ...structures import DataSample, fill_samples
from ..build import build_part, check_choice
from ..heads import FeatureHead, PatchLossHead, ReconstructionHead, TokenHead
from ..masking import Masking, PatchMask
from ..necks import DrawingHead, UNetDrawingHead
from ..painting import difference_of_draws
from ..patches import cells_per_place, composite, regrid, split_cells, to_2tuple, unpatchify
from ..targets import BaseTarget, MomentumTarget
from .base import BaseAlgorithm

Predictor = Union[dict, List[Optional[dict]], Tuple[Optional[dict], ...], None]


@MODELS.register_module()
class CrossMAE(BaseAlgorithm):
    """A light head draws the masked patches, given noise; the backbone encodes the completed image and predicts
    features of the original. Only the backbone is kept. (The method of the same name with cross-attention is a
    different one.)

    The paper leaves much open. There, the default and its reason are stated below, in the drawing head and in the
    targets, and the other reading is an option.

    Args:
        drawing_head: E_draw: ``DrawingHead`` or ``UNetDrawingHead``. Its patches are the masked ones, by default those
            of the backbone.
        predictor: f_pred: ``LinearPredictor``, ``MLPPredictor``, ``MAEDecoder``, or None for the backbone's features
            themselves (Tables 8 and 14). With several targets each has its own predictor; a list gives different ones.
        target: F of Eq. 3.
        projector: A part between backbone and predictor, such as ``MLPPredictor``; a :class:`.MomentumTarget` can
            average it too. None, as in the paper.
        draw_target: The coarse target of Eq. 2; ``dict(type='BlurredPixelTarget', sigma=None)`` is the original image.
        draw_reduction: Reduction of Eq. 2 over the values of a patch: ``'mean'`` ("the mean squared error"), or
            ``'sum'`` (the squared norm as printed).
        pred_weight: lambda of Eq. 4.
        pred_loss: ``'cosine'`` (Eq. 3), ``'normalized_mse'`` (which the text calls equivalent, and the only one whose
            value can be the 0.65 that appendix A.1 reports), ``'mse'`` (MAE's, for pixels), or ``'cross_entropy'`` with
            discrete tokens (section 3.2).
        target_weights: A loss weight for each of several targets. The paper does not say how their losses are added: 1
            each by default.
        pred_on: ``'all'`` tokens (Eq. 3 excepts none) or ``'masked'`` ones, as L_draw.
        keep_visible: The backbone sees the original visible patches, as in Figure 3; else all patches are drawn.
        end_to_end: The gradient of L_pred flows into the drawing head ("the whole system is end-to-end trainable").
        swin_match: If the target's grid is finer than the backbone's: ``'predictor_linear'``: the predictor outputs the
            features of all cells of a token (section 4.1: "a linear layer to match the dimension of predictor"); or
            ``'target_pool'``: their mean is predicted (appendix A.3: "downsample the features from the prediction
            target"; with learned weights there, the target could be made constant).
        **kwargs: Arguments of :class:`BaseAlgorithm`.

    Raises:
        ValueError: An unknown choice, a target whose grid cannot be matched to the backbone's, no predictor although
            widths differ, or a loss that does not fit the target.
    """

    token_head = "model.pred_loss='cross_entropy'"

    target: BaseTarget
    head: PatchLossHead
    drawing_head: Union[DrawingHead, UNetDrawingHead]
    draw_target: BaseTarget

    def __init__(
        self,
        backbone: dict,
        drawing_head: dict,
        target: dict,
        predictor: Predictor,
        projector: Optional[dict] = None,
        draw_target: Optional[dict] = None,
        draw_reduction: str = 'mean',
        pred_weight: float = 0.1,
        pred_loss: str = 'cosine',
        pred_on: str = 'all',
        target_weights: Optional[Sequence[float]] = None,
        keep_visible: bool = True,
        end_to_end: bool = True,
        swin_match: str = 'predictor_linear',
        mask_ratio: float = 0.75,
        masking: str = 'random',
        mask_options: Optional[dict] = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get('neck') or kwargs.get('head'):
            raise ValueError(
                'CrossMAE has no `neck` and no `head`: its parts are `drawing_head` and `predictor`, its '
                'loss is `pred_loss`'
            )
        super().__init__(backbone, masking=None, **kwargs)  # the drawing head's patches are masked
        check_choice('swin_match', swin_match, ('predictor_linear', 'target_pool'))
        if pred_weight < 0:
            raise ValueError(f'pred_weight={pred_weight} must not be negative')
        self.pred_weight, self.keep_visible, self.end_to_end = pred_weight, keep_visible, end_to_end
        self.drawing_head = build_part(drawing_head, 'drawing_head', img_size=self.backbone.img_size, **self.sizes)
        self.masking = Masking(masking, mask_ratio, self.drawing_head.grid_size, **(mask_options or {}))
        self.sizes.update(patch_size=self.drawing_head.patch_size, grid_size=self.drawing_head.grid_size)
        self.draw_target = build_part(draw_target or dict(type='BlurredPixelTarget'), 'draw_target', **self.sizes)
        self.draw_loss = ReconstructionHead(patch_reduction=draw_reduction)
        own = {**self.sizes, 'grid_size': self.backbone.grid_size, 'fill_in': False, 'out_dim': self.backbone.embed_dim}
        self.projector = build_part(projector, 'projector', **own)
        if self.projector is not None and not hasattr(self.projector, 'out_dim'):
            name = type(self.projector).__name__
            raise ValueError(f'model.projector={name}: use LinearPredictor or MLPPredictor, which state their out_dim')
        self.target = self.make_target(
            target, self.data_preprocessor, self.sizes, projector=self.projector, has_predictor=predictor is not None
        )
        self._match_grids(swin_match)
        self.predictor = self._build_predictors(predictor)
        self.target.follow_predictors([] if self.predictor is None else list(self.predictor))
        self.head = self._build_head(pred_loss, pred_on, target_weights)
        self._check_discrete()
        if self.target.discrete and self.pred_grid != self.target_grid:
            raise ValueError("swin_match='target_pool': discrete tokens have no mean; use 'predictor_linear'")

    def _match_grids(self, swin_match: str) -> None:
        """Choose the grid on which features are compared, and how predictions and targets are resampled to it."""
        places = self.backbone.grid_size
        self.target_grid = theirs = to_2tuple(getattr(self.target, 'grid_size', None) or self.sizes['grid_size'])
        try:
            cells_per_place(theirs, places)
        except ValueError as error:
            raise ValueError(
                f"the grid of {type(self.target).__name__} cannot be brought to the backbone's: {error}. "
                'Choose another target, or sizes of image and patches at which it can'
            ) from None
        self.pred_grid = places if swin_match == 'target_pool' else theirs
        self.predicted_cells = cells_per_place(self.pred_grid, places)
        regrid(torch.zeros(1, self.masking.num_patches, 1), self.masking.grid, self.pred_grid)  # raises

    def _build_predictors(self, predictor: Predictor) -> Optional[nn.ModuleList]:
        dims = [self.predicted_cells[0] * self.predicted_cells[1] * dim for dim in self.sizes['out_dims']]
        width = self.backbone.embed_dim if self.projector is None else self.projector.out_dim
        if predictor is None:
            if dims != [width]:
                raise ValueError(
                    f'predictor=None: the {"projector" if self.projector else "backbone"} puts out {width} values a '
                    f'token and the target has {dims}: without a predictor they must be as many'
                )
            return None
        each = list(predictor) if isinstance(predictor, (list, tuple)) else [predictor] * len(dims)
        if len(each) != len(dims) or None in each:
            raise ValueError(f'{len(each)} predictors for {len(dims)} targets: each needs one')
        sizes = {**self.sizes, 'grid_size': self.backbone.grid_size, 'fill_in': False, 'in_dim': width}
        if self.projector is not None:  # it has left out what is no patch
            sizes.update(num_prefix_tokens=0, num_register_tokens=0)
        return nn.ModuleList(build_part(cfg, 'predictor', **{**sizes, 'out_dim': dim}) for cfg, dim in zip(each, dims))

    def _build_head(self, pred_loss: str, pred_on: str, target_weights: Optional[Sequence[float]]) -> PatchLossHead:
        check_choice('pred_loss', pred_loss, ('cosine', 'normalized_mse', 'mse', 'cross_entropy'))
        if pred_loss in ('cosine', 'normalized_mse'):
            return FeatureHead(pred_on, pred_loss, self.sizes['out_dims'], target_weights)
        if target_weights:
            raise ValueError("target_weights need pred_loss='cosine' or 'normalized_mse'")
        return ReconstructionHead(pred_on) if pred_loss == 'mse' else TokenHead(pred_on)

    def loss(
        self,
        inputs: Tensor,
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
        z: Optional[Tensor] = None,
    ) -> Dict[str, Tensor]:
        """``inputs [B, C, H, W]``, normalised. Mask noise and z ``[B, *drawing_head.noise_shape]`` may come from
        outside."""
        mask = self.draw_mask(inputs, data_samples, noise)  # x_M: 75% of the patches are removed at random
        z = self.drawing_head.draw_noise(inputs, data_samples)[0] if z is None else z  # z ~ N(0, I), Eq. 1

        drawing = self.drawing_head(inputs, mask, z)  # E_draw(x_M, z): [B, L, P*P*C]
        draw = self.draw_loss.loss(drawing, self.draw_target(inputs), mask)  # Eq. 2, against the smoothed image

        completed = self.complete(inputs, drawing, mask)  # x_draw: [B, C, H, W]
        prediction = self.predict_features(completed)  # f(x_draw): [B, L', D']
        features = self.true_features(inputs, data_samples)  # F(x): [B, L', D']
        pred = self.head.loss(prediction, features, self.mask_of_features(mask))  # Eq. 3
        metrics = self.head.cosines(prediction, features) if isinstance(self.head, FeatureHead) else {}
        return dict(loss_draw=draw, loss_pred=self.pred_weight * pred, **metrics)  # Eq. 4

    def complete_state_dict(self, state_dict: Dict[str, Tensor]) -> None:
        """The averages of a projector or predictor too, see :meth:`.BaseAlgorithm.complete_state_dict`."""
        super().complete_state_dict(state_dict)
        for path, part in self.named_modules():
            if isinstance(part, MomentumTarget) and part.momentum_head is not None:
                number = path.rpartition('.')[2] if '.' in path else '0'
                followed = 'projector' if part.average == 'projector' else f'predictor.{number}'
                for name in part.momentum_head.state_dict():
                    if f'{followed}.{name}' in state_dict:
                        state_dict.setdefault(f'{path}.momentum_head.{name}', state_dict[f'{followed}.{name}'].clone())

    def complete(self, images: Tensor, drawing: Tensor, mask: PatchMask) -> Tensor:
        """The image that the backbone sees, ``[B, C, H, W]``."""
        drawing = drawing.to(images.dtype)
        drawing = drawing if self.end_to_end else drawing.detach()
        if self.keep_visible:
            return composite(images, drawing, mask.mask, self.drawing_head.patch_size)
        return unpatchify(drawing, self.drawing_head.patch_size, self.drawing_head.grid_size)

    def predict_features(self, completed: Tensor) -> Tensor:
        """``f_pred(f_net(x_draw))``, concatenated for several targets: ``[B, L', D']``."""
        tokens = self.backbone(completed)
        tokens = tokens if self.projector is None else self.projector(tokens)
        if self.predictor is None:
            return tokens if self.projector is not None else tokens[:, self.backbone.num_prefix_tokens :]
        features = [predictor(tokens, None) for predictor in self.predictor]
        return torch.cat([split_cells(x, self.backbone.grid_size, self.predicted_cells) for x in features], dim=-1)

    def true_features(self, images: Tensor, data_samples: Optional[List[DataSample]] = None) -> Tensor:
        """F(x) of the original, ``[B, L', D']``, without gradient."""
        return regrid(self.target_of(images, data_samples), self.target_grid, self.pred_grid)

    def mask_of_features(self, mask: PatchMask) -> PatchMask:
        """The mask on the grid of the features: the removed share of each cell."""
        return mask._replace(mask=regrid(mask.mask[..., None], self.masking.grid, self.pred_grid)[..., 0])

    @torch.no_grad()
    def predict(
        self,
        inputs: Tensor,
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
        z: Optional[Tensor] = None,
    ) -> List[DataSample]:
        """Complete a batch under two draws of z. The first one may come from outside, as in :meth:`loss`.

        Returns:
            As in :class:`BaseAlgorithm`: ``recon_loss`` is L_draw of the first completion, which is ``reconstruction``.
            Also ``pred_loss`` (L_pred without lambda), ``blurred`` (the target of the drawing head) and, for a head
            with noise, ``second_completion``, for pictures as in Figure 3, and ``draw_diversity [2]``
            (:func:`~mmmim.models.painting.difference_of_draws`).
        """
        mask = self.draw_mask(inputs, data_samples, noise)
        patch_size, grid = self.drawing_head.patch_size, self.drawing_head.grid_size
        draws = self.drawing_head.draw_noise(inputs, data_samples, 2)
        drawings = [self.drawing_head(inputs, mask, z) for z in (draws if z is None else [z, *draws[1:]])]
        completions = [self.complete(inputs, drawing, mask) for drawing in drawings]
        coarse = self.draw_target(inputs)
        fields = dict(
            recon_loss=self.draw_loss.loss_per_image(drawings[0], coarse, mask),
            pred_loss=self.head.loss_per_image(
                self.predict_features(completions[0]),
                self.true_features(inputs, data_samples),
                self.mask_of_features(mask),
            ),
            mask=mask.mask,
            blurred=unpatchify(coarse, patch_size, grid),
            reconstruction=completions[0],
            masked_image=composite(inputs, 0.0, mask.mask, patch_size),
        )
        pictures = {}
        if len(drawings) > 1:
            fields['second_completion'], pictures = completions[1], dict(second_completion='completion with another z')
            fields['draw_diversity'] = difference_of_draws(drawings[0], drawings[1], coarse, mask.mask)
        return fill_samples(
            data_samples,
            fields,
            uses_original_statistics=False,
            pictures=pictures,
            pictures_before_mask=dict(blurred='blurred target'),
            reconstruction_title='reconstruction (completion)',
        )
