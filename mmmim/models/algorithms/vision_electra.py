"""Vision ELECTRA: "Adversarial Masked Image Modeling with Hierarchical Discriminator"."""

from typing import Any, Dict, List, Optional, Tuple, Union

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn import functional as F

from ...checkpoint.generator import complete_generator, load_generator
from ...registry import MODELS
from ...structures import DataSample, fill_samples
from ..backbones.base import BaseEncoder
from ..build import build_part, check_choice
from ..heads import DiscriminationHead, ImageDiscriminationHead, PatchDiscriminationHead, PatchLossHead
from ..heads.discrimination import ORIGINAL
from ..masking import PatchMask
from ..noise import draw_normal
from ..painting import difference_of_draws
from ..patches import unpatchify
from ..targets import BaseTarget
from .adversarial import GENERATOR, PLAYERS, gradient_norms_of, ramp
from .base import BaseAlgorithm
from .step import Scale, gradients, loss_scale, with_gradients


@MODELS.register_module()
class VisionELECTRA(BaseAlgorithm):
    """A generator completes masked images; a discriminator, which is kept, tells original from generated ones.

    The discriminator sees the original images and the generated ones, and decides on two levels: on each whole image
    (macro) and on each patch (micro). Both networks are trained on one objective::

        L = L_rec + gan_weight * L_gan + image_weight * L_macro + patch_weight * L_micro

    L_rec and L_gan train the generator alone (``generator``, its encoder, and ``neck``, its decoder), L_macro and
    L_micro the discriminator alone (``backbone`` and its heads).

    Of the paper only the supplement and the abstract are known to this project. What they leave open is an option: the
    form of the GAN loss (``gan_loss``), the discriminator's input (``fake_image``), the noise's strength and whether
    tokens share it (``noise_scale``, ``noise_per``), pooling (``image_head.pool``), the weights of the two levels, and
    whether pixels are normalised (``target.norm_pix``; with it, generated patches get the mean and variance of the
    originals, which the log says).

    Args:
        backbone: The discriminator's encoder, a ViT or a ``MaskedSwin``.
        generator: The generator's encoder: a ``MaskedViT`` (MAE) with a ``MAEDecoder`` as ``neck``, or a ViT or
            ``MaskedSwin`` with ``mask_tokens`` with a ``SimMIMDecoder`` (SimMIM).
        image_head: Config of the macro level, ``ImageDiscriminationHead``; None: without it.
        patch_head: Config of the micro level, ``PatchDiscriminationHead``; None: without it.
        image_weight, patch_weight: Weights of the levels, in the discriminator's and in the GAN loss. Not known to this
            project: 1.
        gan_weight: Weight of the GAN loss (supplement: 0.2; 0.5 is much worse, Table 1). 0: it is not computed.
        gan_ramp: Iterations of the run over which the weight grows linearly to ``gan_weight``; 0: none. Not in the
            supplement.
        gan_loss: ``'non_saturating'``: the generator minimises the cross-entropy of its images and patches with the
            label "original" (Goodfellow et al., 2014, section 3). Its gradient does not vanish when the discriminator
            is confident, as it soon is with pre-trained weights; hence the default. It takes one more pass of the
            discriminator on the generated images. ``'minimax'``: it maximises the discriminator's own loss; the
            gradient comes from the discriminator's pass, and no value is logged.
        fake_image: ``'composite'``: visible patches are the original's, and count as original. ``'full'``: all
            patches are the generator's, and count as generated.
        noise_scale: Standard deviation of the noise on the encoder's output tokens, which have about unit variance.
            0: none. Not known to this project: 0.1.
        noise_per: ``'token'``: each token has its own noise; ``'image'``: all tokens of an image share one vector.
        pretrained_generator: A full checkpoint (with decoder) of MAE or SimMIM that initialises the generator: its
            path, or ``dict(checkpoint=PATH, prefix='student.')`` where the file holds several networks. The
            discriminator's is ``backbone.init_cfg``. With ``load_from``, one such file initialises both.
        **kwargs: Arguments of :class:`BaseAlgorithm`; ``neck``, ``target``, ``head``, ``mask_ratio`` and ``masking``
            are the generator's.

    Raises:
        ValueError: An unknown option, both levels off, networks for different image sizes, a discriminator with a mask
            token, or a mask that removes only parts of its patches.
    """

    default_optimizers = 1  # both players are trained on one objective

    generator: BaseEncoder
    neck: nn.Module
    target: BaseTarget
    head: PatchLossHead
    image_head: Optional[ImageDiscriminationHead]
    patch_head: Optional[PatchDiscriminationHead]

    def __init__(
        self,
        backbone: dict,
        generator: dict,
        image_head: Optional[dict],
        patch_head: Optional[dict],
        image_weight: float = 1.0,
        patch_weight: float = 1.0,
        gan_weight: float = 0.2,
        gan_ramp: int = 0,
        gan_loss: str = 'non_saturating',
        fake_image: str = 'composite',
        noise_scale: float = 0.1,
        noise_per: str = 'token',
        pretrained_generator: Union[str, dict, None] = None,
        **kwargs: Any,
    ) -> None:
        # the base fills in sizes from its `backbone`: while it is built, that is the generator's encoder
        super().__init__(backbone=build_part(generator, 'generator'), **kwargs)
        self.generator, self.backbone = self.backbone, build_part(backbone, 'backbone')
        sizes = dict(
            in_dim=self.backbone.embed_dim,
            num_prefix_tokens=self.backbone.num_prefix_tokens,
            num_register_tokens=self.backbone.num_register_tokens,
        )
        self.image_head = build_part(image_head, 'image_head', **sizes)
        self.patch_head = build_part(patch_head, 'patch_head', **sizes)
        self.image_weight, self.patch_weight = image_weight, patch_weight
        self.gan_weight, self.gan_ramp = gan_weight, gan_ramp
        self.gan_loss, self.fake_image = gan_loss, fake_image
        self.noise_scale, self.noise_per = noise_scale, noise_per
        self.pretrained_generator = self._one_of_a_file(pretrained_generator)
        self._check_options()
        self._check_patches()
        if self.target.uses_original_statistics:
            print_log(
                'target.norm_pix=True: generated patches get the mean and variance of the original ones, which '
                'the generator does not know.',
                'current',
            )

    def loss(
        self,
        inputs: Tensor,
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
        latent_noise: Optional[Tensor] = None,
        scale: Scale = 1.0,
    ) -> Dict[str, Tensor]:
        """``inputs [B, C, H, W]``, normalised; noise as in :meth:`completions`, with one draw.

        ``scale`` is the loss scale (float16) of the gradient that is computed here.
        """
        mask = self.draw_mask(inputs, data_samples, noise)
        tokens = self.generator(inputs, mask)  # [B, T, D]
        latent = self.draw_latent(tokens, data_samples)[0] if latent_noise is None else latent_noise
        prediction = self.decode(tokens, latent, mask, removed_only=self.fake_image != 'full')  # [B, L, P*P*C]
        losses = dict(loss_recon=self.head.loss(prediction, self.target(inputs), mask))  # L_rec

        generated, is_original = self.show(inputs, prediction, mask)  # [B, C, H, W] and, for each patch, [B, L_d]
        shown = torch.cat([inputs, self._to_discriminator(generated)])
        truth = torch.cat([torch.ones_like(is_original), is_original])  # [2B, L_d]
        of_image = torch.cat([is_original.new_full((inputs.shape[0],), label) for label in (1, 0)])  # [2B]
        levels = self.judge(shown)
        losses.update(self._discriminate(levels, dict(image=of_image, patch=truth)))  # L_macro, L_micro

        if self.gan_weight and self.gan_loss == 'non_saturating':
            l_gan = self._deceive(generated, is_original, scale)
            losses.update(loss_gan=self.gan_weight_now * l_gan, l_gan=l_gan.detach())
        return losses

    @property
    def gan_weight_now(self) -> float:
        """The weight of the GAN loss in this iteration of the run."""
        return self.gan_weight * ramp(self.gan_ramp)

    def parts_of(self, player: str) -> Dict[str, nn.Module]:
        """The modules of a player, by their names in the model."""
        names = ('generator', 'neck') if player == GENERATOR else ('backbone', 'image_head', 'patch_head')
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def logged_norms(self) -> Dict[str, List[Tensor]]:
        return gradient_norms_of(self, *PLAYERS)

    def loss_options(self, optim_wrapper: OptimWrapper) -> Dict[str, Any]:
        return dict(scale=loss_scale(optim_wrapper, next(self.parameters()).device))

    def decode(self, tokens: Tensor, latent: Tensor, mask: PatchMask, removed_only: bool = False) -> Tensor:
        """The generator's decoder, on tokens ``[B, T, D]`` plus noise: ``[B, L, P*P*C]``; with ``removed_only`` as in
        :meth:`predict_patches`."""
        if self.noise_scale:
            tokens = tokens + self.noise_scale * latent.to(tokens.dtype)
        return self.predict_patches(tokens, mask) if removed_only else self.neck(tokens, mask)

    def draw_latent(self, tokens: Tensor, data_samples: Optional[List[DataSample]] = None, draws: int = 1) -> Tensor:
        """Standard normal noise ``[draws, B, T, D]`` (``[draws, B, 1, D]`` per image) from the samples' seeds."""
        if not self.noise_scale:
            return tokens.new_zeros(draws, 1, 1, 1)
        count = tokens.shape[1] if self.noise_per == 'token' else 1
        return draw_normal(tokens, data_samples, (count, tokens.shape[2]), draws)

    def show(self, images: Tensor, prediction: Tensor, mask: PatchMask) -> Tuple[Tensor, Tensor]:
        """The discriminator's input ``[B, C, H, W]``, and which of its patches are original, ``[B, L_d]``."""
        is_original = self._to_own_grid(1 - mask.mask)
        if self.fake_image == 'full':
            painted = self.target.to_pixels(prediction, images)
            assert painted is not None  # _check_options
            painted = unpatchify(painted, self.generator.patch_size, self.generator.grid_size)
            return painted, torch.zeros_like(is_original)
        return self._paint(images, prediction, mask)['reconstruction'], is_original

    def judge(self, images: Tensor) -> Dict[str, Tensor]:
        """The discriminator's logits of each enabled level, ``image [N, 2]`` and ``patch [N, L_d, 2]``."""
        tokens = self.backbone(images)
        return {name: head(tokens) for name, head in self._heads().items()}

    def _heads(self) -> Dict[str, DiscriminationHead]:
        heads = dict(image=self.image_head, patch=self.patch_head)
        return {name: head for name, head in heads.items() if head is not None}

    def _to_discriminator(self, generated: Tensor) -> Tensor:
        """Generated images for the discriminator's own loss: detached from the generator, or, with minimax, with a
        reversed gradient."""
        constant = generated.detach()
        if self.gan_loss == 'minimax' and self.gan_weight:
            return constant - self.gan_weight_now * (generated - constant)  # the values are those of `constant`
        return constant

    def _discriminate(self, levels: Dict[str, Tensor], truth: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Each level's cross-entropy over original and generated images, and its accuracies."""
        losses = {}
        for name, head in self._heads().items():
            weight = getattr(self, f'{name}_weight')
            losses[f'loss_{name}'] = weight * head.loss(levels[name], truth[name])
            losses.update(head.accuracies(levels[name], truth[name], prefix='' if name == 'patch' else f'{name}_'))
        return losses

    def _deceive(self, generated: Tensor, is_original: Tensor, scale: Scale) -> Tensor:
        """L_gan: cross-entropy of generated images, and of their generated patches, with the label
        "original". The discriminator is cut off at the images, so that it does not learn from it."""
        seen = generated.detach().requires_grad_()
        levels = self.judge(seen)
        total = seen.new_zeros(())
        if 'image' in levels:
            total = total + self.image_weight * self._as_original(levels['image']).mean()
        if 'patch' in levels:
            wrong = 1 - is_original
            total = total + self.patch_weight * (self._as_original(levels['patch']) * wrong).sum() / wrong.sum()
        if not total.requires_grad:  # a value to look at, under no_grad
            return total
        [by_image] = gradients(total, [seen], scale)
        assert by_image is not None  # the discriminator's output depends on the image
        return with_gradients(total, [generated], [by_image])

    @staticmethod
    def _as_original(logits: Tensor) -> Tensor:
        return DiscriminationHead.loss_per_item(logits, torch.full_like(logits[..., 0], ORIGINAL))

    def _to_own_grid(self, values: Tensor) -> Tensor:
        """Values of the generator's patches ``[B, L]`` on the discriminator's grid ``[B, L_d]``: each of its patches
        lies in one, or holds several of equal value."""
        if self.generator.grid_size == self.backbone.grid_size:
            return values
        values = values.unflatten(1, self.generator.grid_size)[:, None]
        return F.interpolate(values, self.backbone.grid_size, mode='nearest').flatten(1)

    # ------------------------------------------------------------------------------------------------ pictures

    @torch.no_grad()
    def completions(
        self,
        inputs: Tensor,
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
        draws: int = 4,
        latent_noise: Optional[Tensor] = None,
    ) -> List[DataSample]:
        """Complete each image several times with the same mask and different draws of the latent noise.

        Args:
            inputs: ``[B, C, H, W]``, normalised.
            data_samples: Their seeds determine the mask and the draws, of which the first is training's.
            noise: Mask noise, in the shape of the masking strategy.
            draws: Number of completions; one without noise, as all would be the same.
            latent_noise: Standard normal ``[draws, B, T, D]``, instead of drawing it.

        Returns:
            As :meth:`BaseAlgorithm.predict`, of the first draw. Each further one is a field ``completion_2`` ...
            ``[C, H, W]``, with a title in the metainfo ``pictures``.
        """
        mask = self.draw_mask(inputs, data_samples, noise)
        tokens = self.generator(inputs, mask)
        if latent_noise is None:
            latent_noise = self.draw_latent(tokens, data_samples, draws if self.noise_scale else 1)
        predictions = [self.decode(tokens, latent, mask) for latent in latent_noise]
        fields = self._completed(inputs, predictions[0], mask)
        titles = {}
        for i, prediction in enumerate(predictions[1:], start=2):
            fields[f'completion_{i}'] = self._paint(inputs, prediction, mask)['reconstruction']
            titles[f'completion_{i}'] = f'noise draw {i}'
        return fill_samples(
            data_samples, fields, pictures=titles, uses_original_statistics=self.target.uses_original_statistics
        )

    @torch.no_grad()
    def predict(
        self,
        inputs: Tensor,
        data_samples: Optional[List[DataSample]] = None,
        noise: Optional[Tensor] = None,
        latent_noise: Optional[Tensor] = None,
    ) -> List[DataSample]:
        """One completion of each image; ``latent_noise`` ``[B, T, D]`` may come from outside. Its ``draw_diversity`` is
        that of another draw of the noise (:func:`~mmmim.models.painting.difference_of_draws`)."""
        mask = self.draw_mask(inputs, data_samples, noise)
        tokens = self.generator(inputs, mask)
        given = None if latent_noise is None else latent_noise[None]
        latents = self.draw_latent(tokens, data_samples, 2) if given is None else given
        prediction, *others = (self.decode(tokens, latent, mask) for latent in latents[: 2 if self.noise_scale else 1])
        fields = self._completed(inputs, prediction, mask)
        completed = fields['reconstruction']
        fields.update(self.measurements(inputs, data_samples, mask, prediction, completed))
        for other in others:
            fields['draw_diversity'] = difference_of_draws(prediction, other, self.target(inputs), mask.mask)
        return fill_samples(data_samples, fields, uses_original_statistics=self.target.uses_original_statistics)

    def reconstruct(self, images: Tensor, mask: PatchMask) -> Tensor:
        """The prediction without noise, ``[B, L, P*P*C]``."""
        tokens = self.generator(images, mask)
        return self.decode(tokens, tokens.new_zeros(()), mask)

    def measurements(
        self,
        images: Tensor,
        data_samples: Optional[List[DataSample]],
        mask: PatchMask,
        prediction: Tensor,
        completed: Optional[Tensor],
    ) -> Dict[str, Tensor]:
        """Also how well the discriminator recognises original and generated images and patches, and how much the
        prediction depends on the mask."""
        found = super().measurements(images, data_samples, mask, prediction, completed)
        generated, is_original = self.show(images, prediction, mask)
        levels = [self.judge(shown) for shown in (images, generated)]
        labels = dict(
            patch=torch.cat([torch.ones_like(is_original), is_original], dim=1),
            image=torch.tensor([1, 0], device=images.device).expand(len(images), 2),
        )
        for name, head in self._heads().items():
            join = torch.stack if name == 'image' else torch.cat
            logits = join([level[name] for level in levels], dim=1)  # [B, 2, 2] or [B, 2 L_d, 2]
            found.update(head.accuracies_per_image(logits, labels[name], '' if name == 'patch' else f'{name}_'))
        return {**found, **self.diversity_of_masks(images, data_samples, mask, self.reconstruct(images, mask))}

    def _completed(self, images: Tensor, prediction: Tensor, mask: PatchMask) -> Dict[str, Tensor]:
        losses = self.head.loss_per_image(prediction, self.target(images), mask)
        return dict(recon_loss=losses, mask=mask.mask, **self._paint(images, prediction, mask))

    # ----------------------------------------------------------------------------------------- initialisation

    def init_weights(self) -> None:
        """Also load the generator from ``pretrained_generator``, once."""
        first = not self.is_init
        super().init_weights()
        if first and self.pretrained_generator is not None:
            path, prefix = self.pretrained_generator
            load_generator(self.generator, self.neck, path, target=self.target, prefix=prefix)

    @staticmethod
    def _one_of_a_file(given: Union[str, dict, None]) -> Optional[Tuple[str, Optional[str]]]:
        """Path and prefix of ``pretrained_generator``."""
        if given is None:
            return None
        if isinstance(given, str):
            return given, None
        if 'checkpoint' not in given or set(given) - {'checkpoint', 'prefix'}:
            raise ValueError(
                f'model.pretrained_generator={dict(given)}: give a path, or dict(checkpoint=PATH, prefix=NETWORK)'
            )
        return given['checkpoint'], given.get('prefix')

    def complete_state_dict(self, state_dict: Dict[str, Tensor]) -> None:
        """Initialise both networks from a checkpoint of MAE; one that does not fill the generator is refused."""
        super().complete_state_dict(state_dict)
        complete_generator(state_dict, self.state_dict())

    def _check_options(self) -> None:
        check_choice('gan_loss', self.gan_loss, ('non_saturating', 'minimax'))
        check_choice('fake_image', self.fake_image, ('composite', 'full'))
        check_choice('noise_per', self.noise_per, ('token', 'image'))
        for name in ('image_weight', 'patch_weight', 'gan_weight', 'gan_ramp', 'noise_scale'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name}={getattr(self, name)} must not be negative')
        if not self._heads():
            raise ValueError(
                'image_head=None and patch_head=None leave the discriminator nothing to learn: keep one of the levels'
            )
        if self.neck is None or self.head is None or self.target is None or not self.target.paints_pixels:
            raise ValueError(
                'the generator has to make pixels: it needs a neck (its decoder), a head (its loss) and a '
                'target that paints, such as PixelTarget'
            )

    def _check_patches(self) -> None:
        own, other = self.backbone, self.generator
        if getattr(own, 'mask_token', None) is not None:
            raise ValueError(
                'the discriminator sees whole images and would never train a mask token: leave '
                'mask_tokens out of model.backbone (for MaskedRelativeViT take RelativeViT)'
            )
        if (own.img_size, own.in_chans) != (other.img_size, other.in_chans):
            raise ValueError(
                f'the discriminator is for images of {own.img_size[0]}x{own.img_size[1]} pixels and '
                f'{own.in_chans} channels, the generator for {other.img_size[0]}x{other.img_size[1]} and '
                f'{other.in_chans}: let img_size and in_chans of model.backbone and model.generator agree'
            )
        unit = self.masking.unit if self.masking.strategy == 'unit' else 1
        removed = [side * unit for side in other.patch_size]
        if any(side % patch for side, patch in zip(removed, own.patch_size)):
            raise ValueError(
                f'pieces of {removed[0]}x{removed[1]} pixels are removed, which cut through the '
                f"discriminator's patches of {own.patch_size[0]}x{own.patch_size[1]}: use "
                "masking='unit' with mask_options=dict(unit=N), so that N patches of the generator are "
                'as large'
            )
