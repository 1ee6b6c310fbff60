"""GAN-MAE: "Masked Auto-Encoders Meet Generative Adversarial Networks and Beyond" (Fei et al., CVPR 2023)."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ... import randomness
from ...registry import MODELS
from ...structures import DataSample
from ..build import build_part, check_choice
from ..heads import ImageDiscriminationHead, PatchDiscriminationHead, ReconstructionHead
from ..masking import PatchMask
from ..noise import draw_noise
from ..patches import composite
from ..targets import BaseTarget
from .adversarial import (
    DISCRIMINATOR,
    GENERATOR,
    PLAYERS,
    Gradients,
    Scale,
    TwoEncoders,
    accumulation,
    adaptive_weight,
    add_to_log,
    both_players,
    check_painter,
    check_wrapper,
    count_again,
    current_epoch,
    frozen,
    gradients,
    layer_parameters,
    loss_scale,
    minimise,
    with_gradients,
)
from .base import Model


class Corrupted(NamedTuple):
    """X_bar of section 3.2: images ``[B, C, H, W]``, and which of their patches are original, ``[B, L]``: y of Eq. 6,
    1 = original, 0 = generated."""

    images: Tensor
    is_original: Tensor


@MODELS.register_module()
class GANMAE(TwoEncoders):
    """MAE completes a masked image; a discriminator, by default with the same encoder, finds generated patches.

    Backbone, ``neck``, ``target`` (by default raw pixels) and ``head`` are MAE's. The discriminator is the backbone on
    the whole completed image with a two-way linear layer. Where the paper leaves a choice open, both readings are
    options.

    Args:
        patch_head: Config of the two-way layer (``PatchDiscriminationHead``).
        image_head: Config of a layer that classifies whether the image was changed at all (``ImageDiscriminationHead``;
            section 4.2: it did not help). Then ``unchanged_ratio`` of the images reach the discriminator as they are.
        scheme: ``'adversarial'`` (Algorithm 1: the generator steps on L_gen, then the discriminator on L_disc and the
            image that was completed before), ``'two_stage'`` (the same without L_adv), or ``'combined'`` (one step on
            Eq. 10).
        alternate: The players alternate within each ``'iteration'`` (Algorithm 1), or by ``'epoch'`` (the text of
            section 3.3), the generator first.
        disc_weight: lambda of Eq. 10, for ``'combined'``.
        sharing: ``'shared'``: one encoder for both players; ``'separate'``: one for each (Table 1).
        export: Which of two encoders is kept as ``backbone``: ``'generator'`` or ``'discriminator'``.
        gamma: ``'adaptive'`` (Eq. 9), or a fixed number; 0 leaves L_adv out.
        gamma_layer: Layer, or one parameter, of the decoder at which Eq. 9 compares gradients. By default its output
            layer, weight and bias: "the last layer in network".
        gamma_delta, gamma_max: delta of Eq. 9, and an upper bound for gamma (the paper has none).
        adv_through_shared: Whether L_adv also has a gradient with respect to the shared encoder in the discriminator's
            pass. By default the discriminator is constant in L_adv, whose gradient flows through the painted pixels.
        adv_loss: ``'saturating'`` is Eq. 7; ``'non_saturating'`` minimises ``-log D`` of the generated patches instead.
        adv_mean: Eq. 7 without its sums: a mean over ``'all'`` patches, which makes it the negative of Eq. 6, or
            over the visible and the generated ones ``'apart'``.
        reduction: ``'mean'``, or ``'sum'`` as Eq. 1, 6 and 7 are printed (sums over an image, averaged over images).
            The sums weight L_mae more by the values of a patch, 768 for 16x16 pixels: gamma compensates for that in
            Eq. 8, but nothing does in Eq. 10, whose balance changes.
        unchanged_ratio: Share of images that ``image_head`` sees unchanged.
        **kwargs: Arguments of :class:`BaseAlgorithm`.

    Raises:
        ValueError: An unknown or incompatible choice, or a target that cannot be painted.
    """

    needs = ('neck', 'target', 'head')
    neck: nn.Module
    target: BaseTarget
    head: ReconstructionHead
    patch_head: PatchDiscriminationHead
    image_head: Optional[ImageDiscriminationHead]

    def __init__(
        self,
        patch_head: dict,
        image_head: Optional[dict] = None,
        scheme: str = 'adversarial',
        alternate: str = 'iteration',
        disc_weight: float = 2.0,
        sharing: str = 'shared',
        export: str = GENERATOR,
        gamma: Union[str, float] = 'adaptive',
        gamma_layer: str = 'decoder_pred',
        gamma_delta: float = 1e-6,
        gamma_max: Optional[float] = None,
        adv_through_shared: bool = False,
        adv_loss: str = 'saturating',
        adv_mean: str = 'all',
        reduction: str = 'mean',
        unchanged_ratio: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{'target': dict(type='PixelTarget', norm_pix=False), **kwargs})
        self.scheme, self.alternate, self.disc_weight = scheme, alternate, disc_weight
        self.gamma, self.gamma_layer, self.gamma_delta, self.gamma_max = gamma, gamma_layer, gamma_delta, gamma_max
        self.adv_through_shared, self.adv_loss, self.adv_mean = adv_through_shared, adv_loss, adv_mean
        self.reduction, self.unchanged_ratio = reduction, unchanged_ratio
        check_choice('scheme', scheme, ('adversarial', 'two_stage', 'combined'))
        check_choice('alternate', alternate, ('iteration', 'epoch') if scheme != 'combined' else ('iteration',))
        check_choice('adv_loss', adv_loss, ('saturating', 'non_saturating'))
        check_choice('adv_mean', adv_mean, ('all', 'apart'))
        check_choice('reduction', reduction, ('mean', 'sum'))
        check_choice('adv_through_shared', adv_through_shared, (False, True) if sharing == 'shared' else (False,))
        self.share_encoder(kwargs['backbone'], sharing, export)
        self.patch_head = build_part(patch_head, 'patch_head', **self.sizes)
        self.image_head = build_part(image_head, 'image_head', **self.sizes)
        layer_parameters(self.neck, gamma_layer)
        check_painter(self.target, 'GANMAE')
        if not (gamma == 'adaptive' or (isinstance(gamma, (int, float)) and gamma >= 0)) or disc_weight < 0:
            raise ValueError(
                f"gamma={gamma!r} must be 'adaptive' or a number, and like disc_weight={disc_weight} not negative"
            )
        if not 0 < unchanged_ratio < 1:
            raise ValueError(f'unchanged_ratio={unchanged_ratio} must lie inside (0, 1)')
        self.has_adversary = scheme != 'two_stage' and gamma != 0  # whether L_adv is part of L_gen
        self.default_optimizers = 1 if scheme == 'combined' else 2  # one for a single step on the sum of losses
        counted = self.masking.num_patches - (self.masking.num_keep if self.head.loss_on == 'masked' else 0)
        # number of squared errors of an image that Eq. 1 sums; the head takes their mean
        self.mae_num_terms = counted * (self.target.out_dim if self.head.patch_reduction == 'mean' else 1)
        self._pending: List[Tuple[Corrupted, dict]] = []  # batches of this step not yet given to the discriminator

    def parts_of(self, player: str) -> Dict[str, nn.Module]:
        """theta_mae or theta_disc: modules by their names in the model. A shared encoder is part of both."""
        names = [self.encoder_name(player), *(('neck',) if player == GENERATOR else ('patch_head', 'image_head'))]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _discriminator_parameters(self) -> Tuple[List[Tensor], List[Tensor]]:
        """theta_disc, the encoder's parameters first, and those of them that L_adv also trains."""
        own: List[List[Tensor]] = [
            [p for p in part.parameters() if p.requires_grad] for part in self.parts_of(DISCRIMINATOR).values()
        ]
        return sum(own, []), own[0] if self.adv_through_shared else []

    def reconstruct(self, images: Tensor, mask: PatchMask) -> Tensor:
        hidden = self.encoder_of(GENERATOR)(images, mask)  # H_v, Eq. 3: visible patches only, [B, 1 + L_v, D]
        return self.neck(hidden, mask)  # X_m, Eq. 4: [B, L, P*P*C]

    def corrupt(
        self, images: Tensor, prediction: Tensor, mask: PatchMask, data_samples: Optional[List[DataSample]] = None
    ) -> Corrupted:
        """X_bar: the visible patches, and predicted patches in place of the removed ones."""
        generated = mask.mask
        if self.image_head is not None:  # some images stay as they are
            changed = draw_noise(images, data_samples, (1,), randomness.UNCHANGED) >= self.unchanged_ratio
            generated = generated * changed
        painted = self.target.to_pixels(prediction, images)
        assert painted is not None  # check_painter
        return Corrupted(composite(images, painted, generated, self.backbone.patch_size), 1 - generated)

    def judge(self, corrupted: Corrupted) -> Tuple[Tensor, Tensor, Dict[str, Tensor]]:
        """L_disc (Eq. 6) and L_adv (Eq. 7) of the discriminator on these images, and its accuracies for the log."""
        tokens, y = self.encoder_of(DISCRIMINATOR)(corrupted.images), corrupted.is_original
        logits = self.patch_head(tokens)  # D, Eq. 5: [B, L, 2]
        l_disc = self.patch_head.loss_per_item(logits, y)  # -y log D - (1 - y) log(1 - D): [B, L]
        l_adv = self.patch_head.adversarial_loss_per_item(logits, y, self.adv_loss)  # y log D + (1 - y) log(1 - D)
        count, adv_count = self._counts(y)
        l_disc, l_adv = (l_disc / count).sum(1).mean(), (l_adv / adv_count).sum(1).mean()  # Eq. 6, Eq. 7
        metrics = self.patch_head.accuracies(logits, y)
        if self.image_head is not None:
            logits, y = self.image_head(tokens), y.amin(dim=1)  # [B, 2], [B]: 1 = all its patches are original
            l_disc = l_disc + self.image_head.loss_per_item(logits, y).mean()
            l_adv = l_adv + self.image_head.adversarial_loss_per_item(logits, y, self.adv_loss).mean()
            metrics.update(self.image_head.accuracies(logits, y, 'image_'))
        return l_disc, l_adv, metrics

    def _counts(self, is_original: Tensor) -> Tuple[int, Union[int, Tensor]]:
        """Number of patches that each patch is averaged with, in Eq. 6 and in Eq. 7."""
        if self.reduction == 'sum':
            return 1, 1
        total = self.masking.num_patches
        if self.adv_mean == 'all':
            return total, total
        originals = is_original.sum(1, keepdim=True)  # all patches of an unchanged image
        return total, torch.where(is_original.bool(), originals, total - originals)

    def generator_loss(
        self,
        inputs: Tensor,
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
        scale: Scale = 1.0,
    ) -> Tuple[Dict[str, Tensor], Corrupted]:
        """L_gen (Eq. 8), or L_mae alone, and the completed images, detached, for the discriminator.

        Args:
            inputs: ``[B, C, H, W]``, normalised.
            noise: ``[B, L]`` (for random masking) may come from outside.
            scale: The loss scale (float16) of gradients computed here.
        """
        l_mae, corrupted = self._complete(inputs, data_samples, noise)  # Eq. 1-4
        losses = dict(loss_mae=l_mae)
        if self.has_adversary:
            painted = Corrupted(corrupted.images.detach().requires_grad_(), corrupted.is_original)
            own, shared = self._discriminator_parameters()
            with frozen(*own[len(shared) :]):  # theta_disc is constant
                _, l_adv, _ = self.judge(painted)  # Eq. 7
            upstream_grads = gradients(l_adv, [painted.images, *shared], scale)
            # Eq. 8-9
            losses.update(self._adversarial_term(l_mae, l_adv, [corrupted.images, *shared], upstream_grads, scale))
        return losses, Corrupted(corrupted.images.detach(), corrupted.is_original)

    def discriminator_loss(self, corrupted: Corrupted) -> Dict[str, Tensor]:
        """L_disc (Eq. 6) on detached completed images, and the accuracies."""
        l_disc, _, metrics = self.judge(corrupted)
        return dict(loss_disc=l_disc, **metrics)

    def loss(
        self,
        inputs: Tensor,
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
        scale: Scale = 1.0,
    ) -> Dict[str, Tensor]:
        """L_gen + lambda L_disc (Eq. 10) by one forward and one backward pass of the discriminator.

        Eq. 7 is the negative of Eq. 6. So the gradient of L_disc with respect to the discriminator's parameters trains
        the discriminator, and its negated gradient with respect to the completed image trains the generator. Other
        forms of Eq. 7 (``adv_loss``, ``adv_mean``) take a second backward pass. Arguments: see :meth:`generator_loss`.
        """
        l_mae, corrupted = self._complete(inputs, data_samples, noise)  # Eq. 1-4
        painted = Corrupted(corrupted.images.detach().requires_grad_(), corrupted.is_original)
        l_disc, l_adv, metrics = self.judge(painted)  # Eq. 5-7
        losses, (own, shared) = dict(loss_mae=l_mae), self._discriminator_parameters()
        mirrored = self.adv_loss == 'saturating' and (self.adv_mean == 'all' or self.reduction == 'sum')
        upstream_grads: Gradients = []
        if self.has_adversary and not mirrored:
            upstream_grads = gradients(l_adv, [painted.images, *shared], scale, retain=True)
        disc_grads = gradients(l_disc, [painted.images, *own], scale)  # the discriminator's backward pass
        if self.has_adversary:
            upstream_grads = upstream_grads or [None if g is None else -g for g in disc_grads[: 1 + len(shared)]]
            # Eq. 8-9
            losses.update(self._adversarial_term(l_mae, l_adv, [corrupted.images, *shared], upstream_grads, scale))
        disc_grads = [None if g is None else self.disc_weight * g / scale for g in disc_grads[1:]]
        return dict(losses, loss_disc=with_gradients(self.disc_weight * l_disc, own, disc_grads), **metrics)  # Eq. 10

    def _complete(
        self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> Tuple[Tensor, Corrupted]:
        """L_mae and X_bar, with gradients."""
        mask = self.draw_mask(inputs, data_samples, noise)  # M, Eq. 2
        hidden = self.encoder_of(GENERATOR)(inputs, mask)  # H_v, Eq. 3
        prediction = self.predict_patches(hidden, mask)  # X_m, Eq. 4
        l_mae = self.head.loss(prediction, self.target(inputs), mask)  # Eq. 1
        l_mae = l_mae * (self.mae_num_terms if self.reduction == 'sum' else 1)
        return l_mae, self.corrupt(inputs, prediction, mask, data_samples)

    def _adversarial_term(
        self, l_mae: Tensor, l_adv: Tensor, tensors: List[Tensor], upstream_grads: Gradients, scale: Scale
    ) -> Dict[str, Tensor]:
        """gamma L_adv. ``upstream_grads`` are the gradients of L_adv, times ``scale``, with respect to ``tensors``: the
        completed image and, with ``adv_through_shared``, the shared encoder's parameters."""
        if isinstance(self.gamma, str):  # 'adaptive'
            assert upstream_grads[0] is not None  # the discriminator's output depends on the image
            layer = layer_parameters(self.neck, self.gamma_layer)
            by_mae = gradients(l_mae, layer, scale, retain=True)
            by_adv = gradients(tensors[0], layer, upstream_grads[0], retain=True)
            gamma = adaptive_weight(by_mae, by_adv, self.gamma_delta, self.gamma_max, scale)  # Eq. 9
        else:
            gamma = l_adv.new_full((), self.gamma)
        upstream_grads = [None if g is None else gamma * g / scale for g in upstream_grads]
        gamma = torch.where(gamma.isfinite(), gamma, 0)  # for the log of a step that float16 skips
        return dict(loss_adv=with_gradients(gamma * l_adv, tensors, upstream_grads), gamma=gamma)

    def forward(
        self,
        inputs: Any,
        data_samples: Optional[List[DataSample]] = None,
        mode: str = 'tensor',
        noise: Optional[Tensor] = None,
        **kwargs: Any,
    ) -> Any:
        if mode == GENERATOR:
            return self.generator_loss(inputs, data_samples, noise, **kwargs)
        if mode == DISCRIMINATOR:
            return self.discriminator_loss(inputs)
        if mode == 'loss':
            return self.loss(inputs, data_samples, noise, **kwargs)
        return super().forward(inputs, data_samples, mode, noise)

    def train_step(self, data: dict, optim_wrapper: OptimWrapper, model: Optional[Model] = None) -> Dict[str, Tensor]:
        """One step of each player (Algorithm 1), of one of them in alternate epochs, or one joint step.

        With gradient accumulation the generator sees all batches and steps before the discriminator does, so that a
        shared encoder's gradients are not mixed. gamma is computed for each batch (of all ranks). ``loss`` in the log
        is the sum of both players' losses.
        """
        model = self if model is None else model
        data = self.data_preprocessor(data, True)
        generator, discriminator = both_players(optim_wrapper)
        scale = loss_scale(generator, data['inputs'].device)
        if self.scheme == 'combined':
            with generator.optim_context(model):
                losses = model(**data, mode='loss', scale=scale)
            return minimise(self, losses, generator)
        check_wrapper(model)
        turns = PLAYERS if self.alternate == 'iteration' else (PLAYERS[current_epoch() % 2],)
        log: Dict[str, Tensor] = {}
        if GENERATOR in turns:
            with generator.optim_context(model):
                losses, corrupted = model(**data, mode=GENERATOR, scale=scale)  # Algorithm 1, lines 5-7 and 10
            log = minimise(self, losses, generator)  # line 8
        else:
            with torch.no_grad(), generator.optim_context(self):
                _, corrupted = self._complete(**data)
        if DISCRIMINATOR in turns:
            self._pending.append((corrupted, log))
            if len(self._pending) == accumulation(discriminator):
                if GENERATOR in turns and discriminator is generator:
                    count_again(discriminator)
                pending, self._pending = self._pending, []
                for corrupted, log_of_batch in pending:
                    with discriminator.optim_context(model):
                        losses = model(corrupted, mode=DISCRIMINATOR)  # line 11
                    add_to_log(log_of_batch, minimise(self, losses, discriminator))  # line 12
        return log
