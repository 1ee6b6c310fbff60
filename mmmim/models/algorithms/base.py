"""What every pre-training method has in common."""

from typing import Any, Callable, Dict, List, Optional, Tuple, Union

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
from ..noise import draw_noise
from ..patches import composite
from ..preprocess import MIMDataPreprocessor
from ..targets import BaseTarget

# How a forward pass is run: the algorithm itself, or the wrapper that synchronises gradients between processes.
Model = Union[nn.Module, Callable]


class BaseAlgorithm(BaseModel):
    """A masked-image-modelling method: backbone, neck, target, head and a masking strategy.

    Sizes that follow from one part are filled in for the others where their configs leave them open: ``in_dim``,
    ``grid_size``, ``num_prefix_tokens``, ``patch_size``, ``in_chans`` and ``fill_in`` (False when it sees mask tokens
    itself) from the backbone, ``out_dim`` from the target. A subclass writes :meth:`loss`, and :meth:`train_step` when
    a step has several phases.

    Args:
        backbone, neck, target, head: Configs of the parts.
        mask_ratio: Share of patches that are removed.
        masking: ``'random'``, ``'block'``, ``'grid'`` or ``'unit'``; see :class:`~mmmim.models.masking.Masking`. None:
            a subclass masks other patches than the backbone's.
        mask_options: Further arguments of the strategy.
        data_preprocessor: Config of the preprocessor (default: :class:`MIMDataPreprocessor`).

    Raises:
        ValueError: A target whose features are on another grid than the backbone's, or a part is left out that the
            method ``needs``.
    """

    needs: Tuple[str, ...] = ()  # of neck, target and head those that a method cannot be without

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
        self.sizes = sizes  # what further parts of a subclass are filled in with
        self.neck = build_part(neck, 'neck', **sizes)
        self.head = build_part(head, 'head', **sizes)
        absent = [f'model.{name}' for name in self.needs if getattr(self, name) is None]
        if absent:
            raise ValueError(f'{type(self).__name__} needs {" and ".join(absent)}')

    def make_target(self, cfg: dict, preprocessor: MIMDataPreprocessor, sizes: Dict[str, Any]) -> BaseTarget:
        """Build the target, tell it what it has to know, and add its widths to ``sizes``."""
        target: BaseTarget = build_part(cfg, 'target', **sizes)
        if hasattr(target, 'follow'):
            target.follow(self.backbone)
        target.set_image_statistics(preprocessor.mean, preprocessor.std)
        sizes.update(out_dim=target.out_dim, out_dims=getattr(target, 'out_dims', (target.out_dim,)))
        return target

    def init_weights(self) -> None:
        """A target that follows the encoder starts as it, also where that has loaded a checkpoint."""
        super().init_weights()
        if self.target is not None and hasattr(self.target, 'follow'):
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

    def check_batch(self, size: int, repeat_crops: int = 1) -> None:
        """Called before training with the samples that one pass of all ranks holds, and how many of them in a row are
        of one image; a method that needs others raises."""

    def complete_state_dict(self, state_dict: Dict[str, Tensor]) -> None:
        """Called with what ``load_from`` found for this model: a method adds what follows from it, such as a copy.

        Here the momentum encoder of a target that follows the encoder.
        """
        for name in self.state_dict() if hasattr(self.target, 'follow') else ():
            part, found, rest = name.partition('.momentum_encoder.')
            if found and part.startswith('target') and name not in state_dict and f'backbone.{rest}' in state_dict:
                state_dict[name] = state_dict[f'backbone.{rest}'].clone()

    def predict_patches(self, tokens: Tensor, mask: PatchMask) -> Tensor:
        """What the neck predicts for the loss, from ``[B, T, D]``: ``[B, L, out_dim]``. Where the loss counts removed
        patches alone, a neck that can leaves out what only visible ones need, and theirs are zeros."""
        assert self.neck is not None
        if getattr(self.neck, 'can_leave_out_visible', False) and getattr(self.head, 'loss_on', None) == 'masked':
            return self.neck(tokens, mask, True)  # removed_only; by position, as activation checkpointing wants it
        return self.neck(tokens, mask)

    def loss(
        self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> Dict[str, Tensor]:
        """Losses of one batch: ``loss*`` entries are summed and minimised, others are only logged."""
        raise TypeError(f'{type(self).__name__} does not define loss')

    def forward(
        self,
        inputs: Any,
        data_samples: Optional[List[DataSample]] = None,
        mode: str = 'tensor',
        noise: Optional[Tensor] = None,
    ) -> Any:
        """MMEngine's entry: ``mode`` is ``'loss'``, ``'predict'``, or ``'tensor'`` for features of whole images."""
        if mode == 'loss':
            return self.loss(inputs, data_samples, noise)
        if mode == 'predict':
            return self.predict(inputs, data_samples, noise)
        if mode == 'tensor':
            return self.backbone(inputs)
        raise ValueError(f"mode='{mode}' is not known; use 'loss', 'predict' or 'tensor'")

    def train_step(self, data: dict, optim_wrapper: OptimWrapper, model: Optional[Model] = None) -> Dict[str, Tensor]:
        """One forward and backward pass; methods with several phases a step override it.

        Args:
            data: A batch from the loader.
            optim_wrapper: One wrapper, or a dict of them.
            model: What forward passes must go through for gradients to be synchronised; the algorithm itself when
                there is one process.

        Returns:
            Values for the log, as tensors: nothing is read from the device here.
        """
        model = self if model is None else model
        data = self.data_preprocessor(data, True)
        with optim_wrapper.optim_context(model):
            losses = model(**data, mode='loss')
        del data  # the backward pass needs no images
        loss, log_vars = self.parse_losses(losses)
        optim_wrapper.update_params(loss)
        if self.target is not None and hasattr(self.target, 'follow'):
            if optim_wrapper.should_update():  # when the optimizer has moved
                self.target.update()
        return log_vars

    def reconstruct(self, images: Tensor, mask: PatchMask) -> Tensor:
        """What is predicted for every patch, ``[B, L, out_dim]``; a method whose generator is another module overrides
        it."""
        assert self.neck is not None
        return self.neck(self.backbone(images, mask), mask)

    @torch.no_grad()
    def predict(
        self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None, noise: Optional[Tensor] = None
    ) -> List[DataSample]:
        """Reconstruct a batch.

        Returns:
            One sample an image, with ``recon_loss []`` (what the head minimises, for this image), ``mask [L]`` (1 =
            removed), ``masked_image`` and, where the target can paint, ``reconstruction`` ``[C, H, W]`` (both
            normalised, on the host). Visible patches of the reconstruction are the original's. The metainfo
            ``uses_original_statistics`` says whether the removed ones were painted with the mean and variance of the
            original patch, which shows more than the model knows.
        """
        assert self.target is not None and self.head is not None
        mask = self.draw_mask(inputs, data_samples, noise)
        prediction = self.reconstruct(inputs, mask)
        losses = self.head.loss_per_image(prediction, self.target(inputs), mask)
        fields = dict(recon_loss=losses, mask=mask.mask, **self._paint(inputs, prediction, mask))
        return fill_samples(data_samples, fields, uses_original_statistics=self.target.uses_original_statistics)

    def _paint(self, images: Tensor, prediction: Tensor, mask: PatchMask) -> Dict[str, Tensor]:
        patch_size = self.sizes['patch_size']  # of the encoder that sees the mask
        pictures = dict(masked_image=composite(images, 0.0, mask.mask, patch_size))
        painted = None if self.target is None else self.target.to_pixels(prediction, images)
        if painted is not None:
            pictures['reconstruction'] = composite(images, painted, mask.mask, patch_size)
        return pictures

    @torch.no_grad()
    def extract_features(self, inputs: Tensor, pool: str = 'mean') -> Tensor:
        """One vector an image from whole images ``[B, C, H, W]``: ``[B, D]``.

        Args:
            pool: ``'mean'`` of the patch tokens, or the class token ``'cls'``.
        """
        return pool_tokens(self.backbone(inputs), self.backbone.num_prefix_tokens, pool)
