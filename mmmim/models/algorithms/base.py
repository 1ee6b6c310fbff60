"""Base class of all pre-training methods."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ... import randomness
from ...structures import DataSample, fill_samples
from ..backbones.base import BaseEncoder
from ..build import build_part
from ..heads import PatchLossHead
from ..masking import Masking, PatchMask
from ..necks.pool_tokens import pool_tokens
from ..noise import draw_noise, sample_seeds
from ..painting import difference_of_draws, painted_quality
from ..patches import composite
from ..preprocess import MIMDataPreprocessor
from ..targets import BaseTarget
from .step import optimizer_step

# How a forward pass is run: the algorithm itself, or the wrapper that synchronises gradients between processes.
Model = Union[nn.Module, Callable]


class BaseAlgorithm(BaseModel):
    """A masked-image-modelling method: backbone, neck, target, head and a masking strategy.

    Sizes that one part determines are filled in for the others where their configs leave them out: ``in_dim``,
    ``grid_size``, ``num_prefix_tokens``, ``num_register_tokens``, ``patch_size``, ``in_chans`` and ``fill_in`` (False
    when it sees mask tokens itself) from the backbone, ``out_dim`` from the target. A subclass writes :meth:`loss`, and
    :meth:`train_steps` when a step has several phases.

    Args:
        backbone, neck, target, head: Configs of the parts.
        mask_ratio: Share of patches that are removed.
        masking: ``'random'``, ``'block'``, ``'grid'`` or ``'unit'``; see :class:`~mmmim.models.masking.Masking`. None:
            a subclass masks patches other than the backbone's.
        mask_options: Further arguments of the strategy.
        data_preprocessor: Config of the preprocessor (default: :class:`MIMDataPreprocessor`).

    Raises:
        ValueError: The target's features are on a grid other than the backbone's, a part that the method ``needs`` is
            missing, the head counts patches that the neck does not predict, or it does not fit the target.
    """

    needs: Tuple[str, ...] = ()  # which of neck, target and head a method requires
    token_head = "model.head=dict(type='TokenHead')"  # how a config asks for it

    backbone: BaseEncoder
    neck: Optional[nn.Module]
    target: Optional[BaseTarget]
    head: Optional[PatchLossHead]
    data_preprocessor: MIMDataPreprocessor

    def __init__(
        self,
        backbone: dict,
        neck: Optional[dict] = None,
        target: Optional[dict] = None,
        head: Optional[dict] = None,
        mask_ratio: float = 0.75,
        masking: Optional[str] = 'random',
        mask_options: Optional[dict] = None,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        preprocessor = build_part(data_preprocessor or dict(type='MIMDataPreprocessor'), 'data_preprocessor')
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        self.backbone = build_part(backbone, 'backbone')
        sizes: Dict[str, Any] = dict(
            in_dim=self.backbone.embed_dim,
            grid_size=self.backbone.grid_size,
            num_prefix_tokens=self.backbone.num_prefix_tokens,
            num_register_tokens=self.backbone.num_register_tokens,
            patch_size=self.backbone.patch_size,
            in_chans=self.backbone.in_chans,
            fill_in=getattr(self.backbone, 'mask_token', None) is None,
        )
        if masking is not None:
            self.masking = Masking(masking, mask_ratio, self.backbone.grid_size, **(mask_options or {}))
        self.target = None if target is None else self.make_target(target, preprocessor, sizes)
        grid = getattr(self.target, 'grid_size', None) or self.backbone.grid_size
        if tuple(grid) != tuple(self.backbone.grid_size):
            raise ValueError(
                f'{type(self.target).__name__} has features on a grid of {grid[0]}x{grid[1]}, and the '
                f"backbone's is {self.backbone.grid_size[0]}x{self.backbone.grid_size[1]}: choose sizes "
                'of image and patches at which they agree'
            )
        self.sizes = sizes  # filled in for further parts of a subclass
        self.neck = build_part(neck, 'neck', **sizes)
        self.head = build_part(head, 'head', **sizes)
        absent = [f'model.{name}' for name in self.needs if getattr(self, name) is None]
        if absent:
            raise ValueError(f'{type(self).__name__} needs {" and ".join(absent)}')
        self._check_counted_patches()
        self._check_discrete()

    def _check_discrete(self) -> None:
        discrete = getattr(self.head, 'discrete', None)
        if self.target is None or discrete in (None, self.target.discrete):
            return
        target = type(self.target).__name__
        if discrete:
            raise ValueError(f'{self.token_head} needs a target of discrete tokens (DALLETarget), and not {target}')
        raise ValueError(f'{target} gives discrete tokens, which need {self.token_head}')

    def _check_counted_patches(self) -> None:
        loss_on, neck = getattr(self.head, 'loss_on', None), type(self.neck).__name__
        if loss_on == 'visible' and getattr(self.neck, 'mask_token', None) is not None:
            raise ValueError(
                f"model.head.loss_on='visible', but model.neck={neck} fills in mask tokens to predict removed patches: "
                "use neck=dict(type='LinearPredictor'), or loss_on='masked'"
            )
        if loss_on in ('masked', 'all') and getattr(self.neck, 'only_visible', False) and self.sizes['fill_in']:
            raise ValueError(
                f'model.head.loss_on={loss_on!r}, but model.neck={neck} predicts at the patches that the encoder sees: '
                "set loss_on='visible', use neck=dict(type='MAEDecoder'), or an encoder with mask_tokens=True"
            )

    def make_target(
        self, cfg: dict, preprocessor: MIMDataPreprocessor, sizes: Dict[str, Any], **followed: Any
    ) -> BaseTarget:
        """Build the target from the preprocessor and sizes, and add its output widths to ``sizes``.

        ``followed`` are further arguments of :meth:`.BaseTarget.follow`.
        """
        target: BaseTarget = build_part(cfg, 'target', **sizes)
        target.follow(self.backbone, **followed)
        target.set_image_statistics(preprocessor.mean, preprocessor.std)
        sizes.update(out_dim=target.out_dim, out_dims=getattr(target, 'out_dims', (target.out_dim,)))
        return target

    def init_weights(self) -> None:
        """Initialise a target's momentum encoder as a copy of the encoder, also after that has loaded a checkpoint."""
        super().init_weights()
        if self.target is not None:
            self.target.reset()

    def draw_mask(
        self, images: Tensor, data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> PatchMask:
        """The mask of a batch ``[B, C, H, W]``.

        It comes from ``noise`` when that is given, else from :func:`draw_noise`.
        """
        if noise is None:
            noise = draw_noise(images, data_samples, self.masking.noise_shape, randomness.MASK)
        return self.masking(noise)

    def check_batch(self, size: int, repeat_crops: int = 1, batches: int = 1) -> None:
        """Called before training with the batch size of one pass over all ranks, the number of consecutive samples from
        one image, and how many batches an optimizer step has; a method that cannot train on such batches raises."""

    def facts(self, size: int, batches: int) -> Dict[str, Any]:
        """What ``run.json`` has of the method beside its name; ``size`` and ``batches`` as in :meth:`check_batch`."""
        return {}

    def complete_state_dict(self, state_dict: Dict[str, Tensor]) -> None:
        """Called with the state dict that ``load_from`` found: a method adds derived parameters, such as copies.

        Here: the momentum encoder of a target that is an exponential moving average of the encoder.
        """
        for name in self.state_dict():
            part, found, rest = name.partition('.momentum_encoder.')
            if found and part.startswith('target') and name not in state_dict and f'backbone.{rest}' in state_dict:
                state_dict[name] = state_dict[f'backbone.{rest}'].clone()

    def target_of(self, images: Tensor, data_samples: Optional[List[DataSample]] = None) -> Tensor:
        """The target's output for a batch ``[B, C, H, W]``; the samples go to a target that looks at them."""
        assert self.target is not None
        if getattr(self.target, 'takes_samples', False):
            return self.target(images, data_samples)
        return self.target(images)

    def predict_patches(self, tokens: Tensor, mask: PatchMask) -> Tensor:
        """The neck's prediction for the loss, from ``[B, T, D]``: ``[B, L, out_dim]``. If the loss is on removed
        patches only, a neck that supports it does not compute predictions of visible ones, which are then zeros."""
        assert self.neck is not None
        if getattr(self.neck, 'can_leave_out_visible', False) and getattr(self.head, 'loss_on', None) == 'masked':
            return self.neck(tokens, mask, True)  # removed_only; positional, as activation checkpointing needs it
        return self.neck(tokens, mask)

    def loss(
        self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> Dict[str, Tensor]:
        """Losses of one batch: entries with ``loss`` in their names are summed and minimised, others only logged."""
        raise TypeError(f'{type(self).__name__} does not define loss')

    def forward(
        self,
        inputs: Any,
        data_samples: Optional[List[DataSample]] = None,
        mode: str = 'tensor',
        noise: Optional[Tensor] = None,
        **options: Any,
    ) -> Any:
        """MMEngine's entry: ``mode`` is ``'loss'``, ``'predict'``, or ``'tensor'`` for features of whole images.

        ``options`` are further arguments of :meth:`loss` or :meth:`predict`.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples, noise, **options)
        if mode == 'predict':
            return self.predict(inputs, data_samples, noise, **options)
        if mode == 'tensor':
            return self.backbone(inputs)
        raise ValueError(f"mode='{mode}' is not known; use 'loss', 'predict' or 'tensor'")

    def train_steps(
        self, batches: Sequence[dict], optim_wrapper: OptimWrapper, model: Optional[Model] = None
    ) -> Dict[str, Tensor]:
        """One optimizer step; methods with several phases in a step override it.

        Args:
            batches: All batches of the step, as the loader gives them: one, or several where they accumulate.
            optim_wrapper: One wrapper, or a dict of them.
            model: The wrapper that forward passes go through so that gradients are synchronised; the algorithm itself
                with one process.

        Returns:
            Means over the batches for the log, as tensors: nothing is read from the device here.
        """
        model = self if model is None else model
        options = self.loss_options(optim_wrapper)

        def losses(data: dict) -> Dict[str, Tensor]:
            return model(**data, mode='loss', **options)

        norms = self.logged_norms()
        log = optimizer_step(self, batches, losses, optim_wrapper, model, self.data_preprocessor, norms)
        self.after_step()
        return log

    def train_step(self, data: dict, optim_wrapper: OptimWrapper, model: Optional[Model] = None) -> Dict[str, Tensor]:
        """A step on one batch, for MMEngine's own loops."""
        return self.train_steps([data], optim_wrapper, model)

    def logged_norms(self) -> Dict[str, List[Tensor]]:
        """Parameters whose gradient norm the log has, by its name there."""
        return {}

    def loss_options(self, optim_wrapper: OptimWrapper) -> Dict[str, Any]:
        """Further arguments of :meth:`loss`, of a whole step."""
        return {}

    @property
    def phase(self) -> Any:
        """What a step consists of, where that changes in a run: another phase may need another amount of memory."""
        return None

    def after_step(self) -> None:
        """Called after an optimizer step: a target's momentum encoder follows the encoder."""
        if self.target is not None:
            self.target.update()

    def reconstruct(self, images: Tensor, mask: PatchMask) -> Tensor:
        """The prediction for every patch, ``[B, L, out_dim]``; a method whose generator is another module overrides
        this."""
        assert self.neck is not None
        return self.neck(self.backbone(images, mask), mask)

    @torch.no_grad()
    def predict(
        self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> List[DataSample]:
        """Reconstruct a batch.

        Returns:
            One sample per image, with ``recon_loss []`` (the head's loss for this image), ``mask [L]`` (1 = removed),
            ``masked_image`` and, where the target can paint, ``reconstruction`` ``[C, H, W]`` (both normalised, on the
            host). Visible patches of the reconstruction are the original's. The metainfo ``uses_original_statistics``
            says whether the removed ones were painted with the mean and variance of the original patch, which the model
            does not know. Further fields are :meth:`measurements`.
        """
        assert self.target is not None and self.head is not None
        mask = self.draw_mask(inputs, data_samples, noise)
        prediction = self.reconstruct(inputs, mask)
        losses = self.head.loss_per_image(prediction, self.target_of(inputs, data_samples), mask)
        fields = dict(recon_loss=losses, mask=mask.mask, **self._paint(inputs, prediction, mask))
        fields.update(self.measurements(inputs, data_samples, mask, prediction, fields.get('reconstruction')))
        return fill_samples(data_samples, fields, uses_original_statistics=self.target.uses_original_statistics)

    def measurements(
        self,
        images: Tensor,
        data_samples: Optional[List[DataSample]],
        mask: PatchMask,
        prediction: Tensor,
        completed: Optional[Tensor],
    ) -> Dict[str, Tensor]:
        """What ``ReconstructionMetric`` tells of held-out images beside the loss: one value an image, or two whose
        quotient counts. Here of painted patches, where there are any (:func:`~mmmim.models.painting.painted_quality`).

        Args:
            images: ``[B, C, H, W]``.
            data_samples: With seeds, from which more may be drawn.
            mask, prediction, completed: Of :meth:`predict`; ``[B, L, out_dim]``, and ``[B, C, H, W]`` or None.
        """
        if completed is None:
            return {}
        patch_size, to_pixels = self.sizes['patch_size'], self.data_preprocessor.denormalize
        return painted_quality(images, completed, mask.mask, patch_size, to_pixels)

    def diversity_of_masks(
        self, images: Tensor, data_samples: Optional[List[DataSample]], mask: PatchMask, prediction: Tensor
    ) -> Dict[str, Tensor]:
        """``mask_diversity [B, 2]``: how much the prediction under another mask differs at the patches that both remove
        (:func:`~mmmim.models.painting.difference_of_draws`). Nothing without seeds to draw the other one from."""
        if sample_seeds(data_samples, images.device) is None:
            return {}
        noise = draw_noise(images, data_samples, self.masking.noise_shape, randomness.TARGET_MASK)
        other = self.masking(noise)
        found = difference_of_draws(
            prediction, self.reconstruct(images, other), self.target_of(images), mask.mask * other.mask
        )
        return dict(mask_diversity=found)

    def _paint(self, images: Tensor, prediction: Tensor, mask: PatchMask) -> Dict[str, Tensor]:
        patch_size = self.sizes['patch_size']  # of the encoder that sees the mask
        pictures = dict(masked_image=composite(images, 0.0, mask.mask, patch_size))
        painted = None if self.target is None else self.target.to_pixels(prediction, images)
        if painted is not None:
            pictures['reconstruction'] = composite(images, painted, mask.mask, patch_size)
        return pictures

    @torch.no_grad()
    def extract_features(self, inputs: Tensor, pool: str = 'mean') -> Tensor:
        """One feature vector per image from whole images ``[B, C, H, W]``: ``[B, D]``.

        Args:
            pool: As in :func:`~mmmim.models.necks.pool_tokens.pool_tokens`.
        """
        backbone = self.backbone
        return pool_tokens(backbone(inputs), backbone.num_prefix_tokens, pool, backbone.num_register_tokens)
