"""GAN-MAE: "Masked Auto-Encoders Meet Generative Adversarial Networks and Beyond" (Fei et al., CVPR 2023)."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

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
    Scale,
    TwoEncoders,
    adaptive_weight,
    allow_retained_graphs,
    both_players,
    check_painter,
    check_wrapper,
    current,
    gradients,
    layer_parameters,
    with_gradients,
)
from .base import Model
from .step import loss_scale, optimizer_step

REMOVED = ('adv_through_shared', 'adv_mean', 'reduction')  # since version 0.3: no published row needs them


class Corrupted(NamedTuple):
    """X_bar of section 3.2: images ``[B, C, H, W]``, and which of their patches are original, ``[B, L]``: y of Eq. 6,
    1 = original, 0 = generated."""

    images: Tensor
    is_original: Tensor

    def detach(self) -> 'Corrupted':
        """Of these no gradient reaches the generator."""
        return Corrupted(self.images.detach(), self.is_original)

    def cut(self) -> 'Corrupted':
        """The same; a gradient with respect to the images can be taken."""
        return Corrupted(self.images.detach().requires_grad_(), self.is_original)


@MODELS.register_module()
class GANMAE(TwoEncoders):
    """MAE completes a masked image; a discriminator, by default with the same encoder, finds generated patches.

    Backbone, ``neck``, ``target`` (by default raw pixels) and ``head`` are MAE's. The discriminator is the backbone on
    the whole completed image with a two-way linear layer.

    L_adv trains the generator alone: its gradient is taken with respect to the completed image, where the discriminator
    is cut off, and goes on from there through the generator.

    Args:
        patch_head: Config of the two-way layer (``PatchDiscriminationHead``).
        image_head: Config of a layer that classifies whether the image was changed at all (``ImageDiscriminationHead``;
            section 4.2: it did not help). Then ``unchanged_ratio`` of the images reach the discriminator as they are.
        scheme: ``'adversarial'`` (Algorithm 1: the generator steps on L_gen, then the discriminator on L_disc and the
            image that was completed before), ``'two_stage'`` (the same without L_adv), or ``'combined'`` (one step on
            Eq. 10).
        alternate: The players alternate within each ``'iteration'`` (Algorithm 1), or by ``'epoch'`` (the text of
            section 3.3), the generator first. Then ``max_epochs`` counts the epochs of both: it is twice the text's.
        disc_weight: lambda of Eq. 10, for ``'combined'``.
        sharing: ``'shared'``: one encoder for both players; ``'separate'``: one for each (Table 1).
        export: Which of two encoders is kept as ``backbone``: ``'generator'`` or ``'discriminator'``.
        gamma: ``'adaptive'`` (Eq. 9), or a fixed number; 0 leaves L_adv out.
        gamma_layer: Layer, or one parameter, of the decoder at which Eq. 9 compares gradients. By default its output
            layer, weight and bias: "the last layer in network".
        gamma_delta, gamma_max: delta of Eq. 9, and an upper bound for gamma (the paper has none).
        adv_start: Iteration from which L_adv is part of L_gen; before it the generator is an MAE (the paper has none).
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
        adv_loss: str = 'saturating',
        unchanged_ratio: float = 0.5,
        **kwargs: Any,
    ) -> None:
        for key in REMOVED:
            if key in kwargs:
                raise ValueError(f'model.{key} is no option of GANMAE since version 0.3: leave it out')
        super().__init__(**{'target': dict(type='PixelTarget', norm_pix=False), **kwargs})
        self.scheme, self.alternate, self.disc_weight = scheme, alternate, disc_weight
        self.gamma, self.gamma_layer, self.gamma_delta, self.gamma_max = gamma, gamma_layer, gamma_delta, gamma_max
        self.adv_start, self.adv_loss, self.unchanged_ratio = adv_start, adv_loss, unchanged_ratio
        check_choice('scheme', scheme, ('adversarial', 'two_stage', 'combined'))
        check_choice('alternate', alternate, ('iteration', 'epoch') if scheme != 'combined' else ('iteration',))
        check_choice('adv_loss', adv_loss, ('saturating', 'non_saturating'))
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
        self.default_optimizers = 1 if scheme == 'combined' else 2  # one for a single step on the sum of losses
        if 'blocks' in gamma_layer:
            allow_retained_graphs()

    @property
    def has_adversary(self) -> bool:
        """Whether L_adv is part of L_gen, now."""
        started = not self.adv_start or current('iter') >= self.adv_start
        return self.scheme != 'two_stage' and self.gamma != 0 and started

    # ------------------------------------------------------------------------------------------------- Algorithm 1

    def train_steps(
        self, batches: Sequence[dict], optim_wrapper: OptimWrapper, model: Optional[Model] = None
    ) -> Dict[str, Tensor]:
        """A step of each player (Algorithm 1), of one of them in alternate epochs, or one joint step (Eq. 10).

        The generator steps on all batches before the discriminator does. ``loss`` in the log is the sum of both
        players' losses.
        """
        model = self if model is None else model
        generator, discriminator = both_players(optim_wrapper)
        turns = PLAYERS if self.alternate == 'iteration' else (PLAYERS[current('epoch') % 2],)
        options: Dict[str, Any] = dict(scale=loss_scale(generator, next(self.parameters()).device))
        if len(batches) > 1 and GENERATOR in turns and self.has_adversary and self.gamma == 'adaptive':
            options['gamma'] = self.gamma_of_step(batches, generator, options['scale'])  # Eq. 9

        def both(data: dict) -> Dict[str, Tensor]:
            return model(**data, mode='loss', **options)  # Eq. 10

        if self.scheme == 'combined':
            return optimizer_step(self, batches, both, generator, model, self.data_preprocessor)

        check_wrapper(model)
        completed: List[Corrupted] = []

        def generate(data: dict) -> Dict[str, Tensor]:
            losses, x_bar = model(**data, mode=GENERATOR, **options)  # lines 5-7
            completed.append(x_bar)  # line 10: what was completed before the generator's step
            return losses

        def judge(x_bar: Corrupted) -> Dict[str, Tensor]:
            return model(x_bar, mode=DISCRIMINATOR)  # line 11

        log: Dict[str, Tensor] = {}
        if GENERATOR in turns:
            log = optimizer_step(self, batches, generate, generator, model, self.data_preprocessor)  # line 8
        else:
            for data in (self.data_preprocessor(batch, True) for batch in batches):
                with torch.no_grad(), generator.optim_context(self):
                    completed.append(self.complete(**data)[1])
        if DISCRIMINATOR in turns:
            values = optimizer_step(self, completed, judge, discriminator, model)  # line 12
            log.update(values, loss=log.get('loss', 0) + values['loss'])
        return log

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
            noise: ``[B, L]`` (for random masking) may come from outside.
            scale: The loss scale (float16) of gradients computed here.
            gamma: Of the whole step. None: of this batch.
        """
        l_mae, x_bar = self.complete(inputs, data_samples, noise)  # Eq. 1-4
        losses = dict(loss_mae=l_mae)
        if self.has_adversary:
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
        """L_gen + lambda L_disc (Eq. 10). Arguments: see :meth:`generator_loss`.

        Eq. 7 is the negative of Eq. 6, so one pass of the discriminator does: the gradient of L_disc with respect to
        its parameters trains it, and the negated one with respect to the completed image trains the generator.
        """
        if not self.has_adversary or self.adv_loss != 'saturating':
            losses, x_bar = self.generator_loss(inputs, data_samples, noise, scale, gamma)
            losses.update(self.discriminator_loss(x_bar))
            return dict(losses, loss_disc=self.disc_weight * losses['loss_disc'])
        l_mae, x_bar = self.complete(inputs, data_samples, noise)  # Eq. 1-4
        seen, theta_disc = x_bar.cut(), self.discriminator_parameters()
        l_disc, l_adv, metrics = self.judge(seen)  # Eq. 5-7
        by_image, *by_theta = gradients(l_disc, [seen.images, *theta_disc], scale)
        assert by_image is not None  # the discriminator's output depends on the image
        losses = self._adversarial_term(l_mae, l_adv, x_bar, -by_image, scale, gamma)  # Eq. 8-9
        by_theta = [None if g is None else self.disc_weight * g for g in by_theta]
        losses['loss_disc'] = with_gradients(self.disc_weight * l_disc, theta_disc, by_theta)
        return dict(loss_mae=l_mae, **losses, l_disc=l_disc.detach(), **metrics)

    # ----------------------------------------------------------------------------------------------- the generator

    def complete(
        self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> Tuple[Tensor, Corrupted]:
        """L_mae (Eq. 1-4) and X_bar, with gradients."""
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

    # ------------------------------------------------------------------------------------------- the discriminator

    def judge(self, x_bar: Corrupted) -> Tuple[Tensor, Tensor, Dict[str, Tensor]]:
        """L_disc (Eq. 6) and L_adv (Eq. 7) of the discriminator on these images, and its accuracies for the log.

        Means over the patches, where the equations print sums: gamma leaves no factor between the two in Eq. 8.
        """
        tokens, y = self.encoder_of(DISCRIMINATOR)(x_bar.images), x_bar.is_original
        logits = self.patch_head(tokens)  # D, Eq. 5: [B, L, 2]
        l_disc = self.patch_head.loss(logits, y)  # -y log D - (1 - y) log(1 - D)
        l_adv = self.patch_head.adversarial_loss(logits, y, self.adv_loss)  # y log D + (1 - y) log(1 - D)
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
        seen = x_bar.cut()
        _, l_adv, _ = self.judge(seen)
        [by_image] = gradients(l_adv, [seen.images], scale)
        assert by_image is not None  # the discriminator's output depends on the image
        return l_adv, by_image

    def _adversarial_term(
        self, l_mae: Tensor, l_adv: Tensor, x_bar: Corrupted, by_image: Tensor, scale: Scale, gamma: Optional[Tensor]
    ) -> Dict[str, Tensor]:
        """gamma L_adv, from its gradient ``by_image``."""
        if gamma is None and isinstance(self.gamma, str):  # 'adaptive'
            gamma = self._weigh(self._at_layer(l_mae, x_bar, by_image, scale))
        elif gamma is None:
            gamma = l_adv.new_full((), float(self.gamma))
        shown = torch.where(gamma.isfinite(), gamma, 0)  # in the log of a step that float16 skips
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

    def gamma_of_step(self, batches: Sequence[dict], optim_wrapper: OptimWrapper, scale: Scale) -> Tensor:
        """gamma (Eq. 9) from the gradients of all batches, as if they were one; one more forward pass of each."""
        sums = []
        with randomness.replayed():  # the step itself draws the same once more
            for data in (self.data_preprocessor(batch, True) for batch in batches):
                with optim_wrapper.optim_context(self):
                    l_mae, x_bar = self.complete(**data)
                    _, by_image = self._adversarial_gradient(x_bar, scale)
                sums.append(self._at_layer(l_mae, x_bar, by_image, scale))
        return self._weigh(torch.stack(sums).mean(0))

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
