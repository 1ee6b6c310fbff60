"""GAN-MAE: "Masked Auto-Encoders Meet Generative Adversarial Networks and Beyond" (Fei et al., CVPR 2023)."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

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
    TwoEncoders,
    adaptive_weight,
    allow_retained_graphs,
    both_players,
    check_painter,
    check_wrapper,
    current,
    gradient_norms_of,
    layer_parameters,
    ramp,
)
from .base import Model
from .step import Scale, gradients, loss_scale, optimizer_step, replaying, with_gradients

_REMOVED = ('adv_through_shared', 'adv_mean', 'reduction')  # options of version 0.2 that no published row needs


class Corrupted(NamedTuple):
    """X_bar of section 3.2: completed images ``[B, C, H, W]``, and the labels y of their patches (Eq. 6), ``[B, L]``:
    1 = original, 0 = generated."""

    images: Tensor
    is_original: Tensor

    def detach(self) -> 'Corrupted':
        """Detached from the generator."""
        return Corrupted(self.images.detach(), self.is_original)

    def as_leaf(self) -> 'Corrupted':
        """Detached, as a leaf: a gradient with respect to the images can be taken."""
        return Corrupted(self.images.detach().requires_grad_(), self.is_original)


@MODELS.register_module()
class GANMAE(TwoEncoders):
    """MAE completes a masked image; a discriminator, by default with the same encoder, tells original patches from
    generated ones.

    Backbone, ``neck``, ``target`` (by default raw pixels) and ``head`` are MAE's: the generator. The discriminator is
    the backbone on the whole completed image with a two-way linear layer.

    ============= =========================== ================ ====================================
    scheme        step                        loss             parameters
    ============= =========================== ================ ====================================
    adversarial   generator                   L_gen, Eq. 8     encoder, decoder
    ..            discriminator               L_disc, Eq. 6    encoder, two-way layer
    two_stage     generator, discriminator    L_mae, L_disc    the same
    combined      one                         Eq. 10           all
    ============= =========================== ================ ====================================

    L_adv updates the generator alone: its gradient is computed with respect to the completed image as a leaf, and
    back-propagated from there through decoder and encoder. A shared encoder gets the gradient of L_adv on that way
    only, and that of L_disc as the discriminator's; it is updated in both steps, by two optimizers with their moments.

    Args:
        patch_head: Config of the two-way layer (``PatchDiscriminationHead``).
        image_head: Config of a layer that classifies whether the image was changed at all (``ImageDiscriminationHead``;
            section 4.2: it did not help). Then ``unchanged_ratio`` of the images reach the discriminator as they are.
            Its loss is part of L_disc, and the negative of L_adv.
        scheme: ``'adversarial'`` (Algorithm 1: the generator steps on L_gen, then the discriminator on L_disc of the
            images completed before that step), ``'two_stage'`` (the same with L_gen = L_mae), or ``'combined'`` (one
            step on Eq. 10).
        alternate: The players alternate within each ``'iteration'`` (Algorithm 1), or by ``'epoch'`` (the text of
            section 3.3), the generator first. Then ``max_epochs`` counts the epochs of both: double it for the text's.
        disc_weight: lambda of Eq. 10, for ``'combined'`` and ``mode='loss'``.
        sharing: ``'shared'``: one encoder for both players; ``'separate'``: one for each (Table 1).
        export: Which of two encoders is kept as ``backbone``: ``'generator'`` or ``'discriminator'``.
        gamma: ``'adaptive'``, ``|grad L_mae| / (|grad L_adv| + delta)`` at ``gamma_layer``, over all batches and
            processes of the step (Eq. 9); or a fixed number; 0 leaves L_adv out.
        gamma_layer: Layer, or one parameter, of the decoder at which Eq. 9 compares gradients. By default its output
            layer, weight and bias: "the last layer in network".
        gamma_delta, gamma_max: delta of Eq. 9, and an upper bound for gamma, which is not in the paper.
        adv_start: Iteration of the run from which L_adv is part of L_gen; not in the paper.
        adv_ramp: Iterations over which gamma, fixed or adaptive, grows linearly to its full value from then on; 0: at
            once. Not in the paper.
        adv_loss: ``'saturating'`` is Eq. 7; ``'non_saturating'`` minimises ``-log D`` of generated patches instead.
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
        adv_start: int = 0,
        adv_ramp: int = 0,
        adv_loss: str = 'saturating',
        unchanged_ratio: float = 0.5,
        **kwargs: Any,
    ) -> None:
        for key in _REMOVED:
            if key in kwargs:
                raise ValueError(f'model.{key} is no option of GANMAE since version 0.3: leave it out')
        super().__init__(**{'target': dict(type='PixelTarget', norm_pix=False), **kwargs})
        self.scheme, self.alternate, self.disc_weight = scheme, alternate, disc_weight
        self.gamma, self.gamma_layer, self.gamma_delta, self.gamma_max = gamma, gamma_layer, gamma_delta, gamma_max
        self.adv_start, self.adv_ramp, self.adv_loss = adv_start, adv_ramp, adv_loss
        self.unchanged_ratio = unchanged_ratio
        check_choice('scheme', scheme, ('adversarial', 'two_stage', 'combined'))
        check_choice('alternate', alternate, ('iteration', 'epoch') if scheme != 'combined' else ('iteration',))
        check_choice('adv_loss', adv_loss, ('saturating', 'non_saturating'))
        self.share_encoder(kwargs['backbone'], sharing, export)
        self.patch_head = build_part(patch_head, 'patch_head', **self.sizes)
        self.image_head = build_part(image_head, 'image_head', **self.sizes)
        layer_parameters(self.neck, gamma_layer)  # raises for an unknown layer
        check_painter(self.target, 'GANMAE')
        if not (gamma == 'adaptive' or (isinstance(gamma, (int, float)) and gamma >= 0)):
            raise ValueError(f"gamma={gamma!r} must be 'adaptive' or a number that is not negative")
        for name in ('disc_weight', 'gamma_delta', 'adv_start', 'adv_ramp'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name}={getattr(self, name)} must not be negative')
        if gamma_max is not None and gamma_max <= 0:
            raise ValueError(f'gamma_max={gamma_max} must be above 0')
        if not 0 < unchanged_ratio < 1:
            raise ValueError(f'unchanged_ratio={unchanged_ratio} must lie inside (0, 1)')
        self.default_optimizers = 1 if scheme == 'combined' else 2  # combined: one step on one sum of losses
        if gamma == 'adaptive' and not gamma_layer.startswith(('decoder_pred', 'decoder_norm')):
            allow_retained_graphs()  # its gradients go through blocks

    # ------------------------------------------------------------------------------------------------- Algorithm 1

    def train_steps(
        self, batches: Sequence[dict], optim_wrapper: OptimWrapper, model: Optional[Model] = None
    ) -> Dict[str, Tensor]:
        """A step of the generator, then one of the discriminator (Algorithm 1); one of them in alternate epochs; or one
        joint step (Eq. 10). ``loss`` in the log is the sum of both players' losses."""
        model = self if model is None else model
        generator, discriminator = both_players(optim_wrapper)
        if self.scheme == 'combined':
            log = self._generator_step(batches, generator, model, 'loss')
            self.after_step()
            return log
        check_wrapper(model)
        completed: List[Corrupted] = []  # by the generator before its step (line 10)
        log = {}
        if GENERATOR in self.turns:
            log = self._generator_step(batches, generator, model, GENERATOR, completed)  # lines 5-8
        else:
            for data in (self.data_preprocessor(batch, True) for batch in batches):
                with torch.no_grad(), generator.optim_context(self):
                    completed.append(self.complete(**data)[1])
        if DISCRIMINATOR in self.turns:
            norms = gradient_norms_of(self, DISCRIMINATOR)
            values = optimizer_step(
                self, completed, lambda x_bar: model(x_bar, mode=DISCRIMINATOR), discriminator, model, norms=norms
            )  # lines 11-12
            log.update(values, loss=log.get('loss', 0) + values['loss'])
        self.after_step()
        return log

    def _generator_step(
        self,
        batches: Sequence[dict],
        optim_wrapper: OptimWrapper,
        model: Model,
        mode: str,
        completed: Optional[List[Corrupted]] = None,
    ) -> Dict[str, Tensor]:
        """A step on L_gen (Eq. 8), or, with ``mode='loss'``, on Eq. 10. ``completed`` gets the completed images."""
        options: Dict[str, Any] = dict(scale=loss_scale(optim_wrapper, next(self.parameters()).device))
        preprocess: Callable[..., Any] = self.data_preprocessor
        if len(batches) > 1 and self.has_adversary and self.gamma == 'adaptive':
            options['gamma'], states = self.gamma_of_step(batches, optim_wrapper, options['scale'])  # Eq. 9
            preprocess = replaying(preprocess, states)

        def forward(data: dict) -> Dict[str, Tensor]:
            found = model(**data, mode=mode, **options)
            if completed is None:
                return found
            losses, x_bar = found
            completed.append(x_bar)
            return losses

        norms = gradient_norms_of(self, *(PLAYERS if mode == 'loss' else [GENERATOR]))
        return optimizer_step(self, batches, forward, optim_wrapper, model, preprocess, norms)

    @property
    def turns(self) -> Tuple[str, ...]:
        """The players that step now."""
        return PLAYERS if self.alternate == 'iteration' else (PLAYERS[current('epoch') % 2],)

    @property
    def has_adversary(self) -> bool:
        """Whether L_adv is part of L_gen now."""
        started = not self.adv_start or current('iter') >= self.adv_start
        return self.scheme != 'two_stage' and self.gamma != 0 and started

    @property
    def phase(self) -> Any:
        return self.turns, self.has_adversary

    def generator_loss(
        self,
        inputs: Tensor,
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
        scale: Scale = 1.0,
        gamma: Optional[Tensor] = None,
    ) -> Tuple[Dict[str, Tensor], Corrupted]:
        """L_gen (Eq. 8), or L_mae alone, and the completed images, detached, for the discriminator.

        Args:
            inputs: ``[B, C, H, W]``, normalised.
            noise: ``[B, L]`` (for random masking), in place of a random draw.
            scale: The loss scale (float16) of gradients computed here.
            gamma: Of the whole step; None: computed from this batch.
        """
        l_mae, x_bar = self.complete(inputs, data_samples, noise)  # Eq. 1-4
        losses = dict(loss_mae=l_mae)
        if self.has_adversary and torch.is_grad_enabled():
            l_adv, by_image = self._adversarial_gradient(x_bar, scale)
            losses.update(self._adversarial_term(l_mae, l_adv, x_bar, by_image, scale, gamma))
        return losses, x_bar.detach()

    def discriminator_loss(self, x_bar: Corrupted) -> Dict[str, Tensor]:
        """L_disc (Eq. 6) on detached completed images, and the accuracies."""
        l_disc, _, metrics = self.judge(x_bar)
        return dict(loss_disc=l_disc, l_disc=l_disc.detach(), **metrics)

    def loss(
        self,
        inputs: Tensor,
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
        scale: Scale = 1.0,
        gamma: Optional[Tensor] = None,
    ) -> Dict[str, Tensor]:
        """L_gen + lambda L_disc (Eq. 10), for ``'combined'``. Arguments: see :meth:`generator_loss`.

        Eq. 7 is the negative of Eq. 6, so one pass of the discriminator does: the gradient of L_disc with respect to
        its parameters trains it, and the negated one with respect to the completed image trains the generator.
        """
        if not self.has_adversary or self.adv_loss != 'saturating' or not torch.is_grad_enabled():
            losses, x_bar = self.generator_loss(inputs, data_samples, noise, scale, gamma)
            losses.update(self.discriminator_loss(x_bar))
            return dict(losses, loss_disc=self.disc_weight * losses['loss_disc'])
        l_mae, x_bar = self.complete(inputs, data_samples, noise)  # Eq. 1-4
        seen, theta_disc = x_bar.as_leaf(), self.discriminator_parameters()
        l_disc, l_adv, metrics = self.judge(seen)  # Eq. 5-7
        by_image, *by_theta = gradients(l_disc, [seen.images, *theta_disc], scale)
        assert by_image is not None  # the discriminator's output depends on the image
        losses = self._adversarial_term(l_mae, l_adv, x_bar, -by_image, scale, gamma)  # Eq. 8-9
        losses['loss_disc'] = self.disc_weight * with_gradients(l_disc, theta_disc, by_theta)
        return dict(loss_mae=l_mae, **losses, l_disc=l_disc.detach(), **metrics)

    # ----------------------------------------------------------------------------------------------- the generator

    def complete(
        self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> Tuple[Tensor, Corrupted]:
        """L_mae (Eq. 1-4) and X_bar, both attached to the generator's graph."""
        mask = self.draw_mask(inputs, data_samples, noise)  # M, Eq. 2
        hidden = self.encoder_of(GENERATOR)(inputs, mask)  # H_v, Eq. 3: visible patches only, [B, 1 + L_v, D]
        prediction = self.predict_patches(hidden, mask)  # X_m, Eq. 4: [B, L, P*P*C]
        l_mae = self.head.loss(prediction, self.target(inputs), mask)  # Eq. 1
        return l_mae, self.corrupt(inputs, prediction, mask, data_samples)

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

    def reconstruct(self, images: Tensor, mask: PatchMask) -> Tensor:
        return self.neck(self.encoder_of(GENERATOR)(images, mask), mask)

    def measurements(
        self,
        images: Tensor,
        data_samples: Optional[List[DataSample]],
        mask: PatchMask,
        prediction: Tensor,
        completed: Optional[Tensor],
    ) -> Dict[str, Tensor]:
        """Also how well the discriminator recognises original and generated patches of completed images, with
        ``image_head`` also whole images, and how much the prediction depends on the mask."""
        found = super().measurements(images, data_samples, mask, prediction, completed)
        assert completed is not None  # check_painter
        tokens = self.encoder_of(DISCRIMINATOR)(completed)
        found.update(self.patch_head.accuracies_per_image(self.patch_head(tokens), 1 - mask.mask))
        if self.image_head is not None:
            whole = self.encoder_of(DISCRIMINATOR)(images)
            logits = torch.stack([self.image_head(of) for of in (whole, tokens)], dim=1)  # [B, 2, 2]
            truth = torch.tensor([1, 0], device=images.device).expand(len(images), 2)
            found.update(self.image_head.accuracies_per_image(logits, truth, 'image_'))
        return {**found, **self.diversity_of_masks(images, data_samples, mask, prediction)}

    # ------------------------------------------------------------------------------------------- the discriminator

    def judge(self, x_bar: Corrupted) -> Tuple[Tensor, Tensor, Dict[str, Tensor]]:
        """L_disc (Eq. 6) and L_adv (Eq. 7) of the discriminator on these images, and its accuracies for the log.

        Means over the patches, as L_mae's, where Eq. 1, 6 and 7 print sums: with adaptive gamma it makes no difference
        in Eq. 8; a fixed gamma and lambda of Eq. 10 refer to the means.
        """
        tokens, y = self.encoder_of(DISCRIMINATOR)(x_bar.images), x_bar.is_original
        logits = self.patch_head(tokens)  # D, Eq. 5: [B, L, 2]
        l_disc = self.patch_head.loss(logits, y)  # -y log D - (1 - y) log(1 - D)
        l_adv = self.patch_head.adversarial_loss(logits, y, self.adv_loss)  # Eq. 7: y log D + (1 - y) log(1 - D)
        metrics = self.patch_head.accuracies(logits, y)
        if self.image_head is not None:
            logits, y = self.image_head(tokens), y.amin(dim=1)  # [B, 2], [B]: 1 = all its patches are original
            l_disc = l_disc + self.image_head.loss(logits, y)
            l_adv = l_adv + self.image_head.adversarial_loss(logits, y, self.adv_loss)
            metrics.update(self.image_head.accuracies(logits, y, 'image_'))
        return l_disc, l_adv, metrics

    def parts_of(self, player: str) -> Dict[str, nn.Module]:
        """theta_mae or theta_disc: modules by their names in the model. A shared encoder is part of both."""
        names = [self.encoder_name(player), *(('neck',) if player == GENERATOR else ('patch_head', 'image_head'))]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def discriminator_parameters(self) -> List[Tensor]:
        parts = self.parts_of(DISCRIMINATOR).values()
        return [p for part in parts for p in part.parameters() if p.requires_grad]

    # ----------------------------------------------------------------------------------------- gamma L_adv, Eq. 8-9

    def _adversarial_gradient(self, x_bar: Corrupted, scale: Scale) -> Tuple[Tensor, Tensor]:
        """L_adv (Eq. 7), and its gradient with respect to X_bar, ``[B, C, H, W]``."""
        seen = x_bar.as_leaf()
        _, l_adv, _ = self.judge(seen)
        [by_image] = gradients(l_adv, [seen.images], scale)
        assert by_image is not None  # the discriminator's output depends on the image
        return l_adv, by_image

    def _adversarial_term(
        self, l_mae: Tensor, l_adv: Tensor, x_bar: Corrupted, by_image: Tensor, scale: Scale, gamma: Optional[Tensor]
    ) -> Dict[str, Tensor]:
        """gamma L_adv, from the gradient ``by_image`` of L_adv with respect to X_bar; L_adv and gamma for the log."""
        if gamma is None and isinstance(self.gamma, str):  # 'adaptive'
            gamma = self._weigh(self._at_layer(l_mae, x_bar, by_image, scale))
        elif gamma is None:
            gamma = l_adv.new_full((), float(self.gamma))
        gamma = gamma * ramp(self.adv_ramp, self.adv_start)
        shown = gamma
        if isinstance(scale, Tensor):  # float16 skips a step with an overflow by its gradients; its log stays finite
            shown = torch.where(gamma.isfinite(), gamma, 0)
        loss = with_gradients(shown * l_adv, [x_bar.images], [gamma * by_image])
        return dict(loss_adv=loss, l_adv=l_adv.detach(), gamma=shown)

    def _at_layer(self, l_mae: Tensor, x_bar: Corrupted, by_image: Tensor, scale: Scale) -> Tensor:
        """Gradients of L_mae and L_adv with respect to ``gamma_layer``'s parameters, ``[2, P]``."""
        layer = layer_parameters(self.neck, self.gamma_layer)
        by_mae = gradients(l_mae, layer, scale, retain=True)
        by_adv = gradients(x_bar.images, layer, scale, by_image, retain=True)
        both = ([gradient.flatten() for gradient in one if gradient is not None] for one in (by_mae, by_adv))
        return torch.stack([torch.cat(one) for one in both])

    def _weigh(self, at_layer: Tensor) -> Tensor:
        return adaptive_weight(at_layer, self.gamma_delta, self.gamma_max)

    def gamma_of_step(
        self, batches: Sequence[dict], optim_wrapper: OptimWrapper, scale: Scale
    ) -> Tuple[Tensor, List[List[Tensor]]]:
        """gamma (Eq. 9) from the gradients of all batches, as if they were one.

        For each batch it takes one more forward pass of both players, and a backward pass to the image.

        Returns:
            gamma, and for each batch the state of the generators in which its pass began: the step draws the same.
        """
        per_batch, states = [], []
        for batch in batches:
            states.append(randomness.generator_state())
            data = self.data_preprocessor(batch, True)
            with optim_wrapper.optim_context(self):
                l_mae, x_bar = self.complete(**data)
                _, by_image = self._adversarial_gradient(x_bar, scale)
            per_batch.append(self._at_layer(l_mae, x_bar, by_image, scale))
            del l_mae, x_bar, by_image  # and their graph
        return self._weigh(torch.stack(per_batch).mean(0)), states

    def forward(
        self,
        inputs: Any,
        data_samples: Optional[List[DataSample]] = None,
        mode: str = 'tensor',
        noise: Optional[Tensor] = None,
        **options: Any,
    ) -> Any:
        if mode == GENERATOR:
            return self.generator_loss(inputs, data_samples, noise, **options)
        if mode == DISCRIMINATOR:
            return self.discriminator_loss(inputs)
        return super().forward(inputs, data_samples, mode, noise, **options)
