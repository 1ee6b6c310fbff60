"""Several targets at once."""

from typing import List, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor, nn

from ...registry import MODELS
from ..backbones.base import BaseEncoder
from ..build import build_part
from ..patches import Size
from .base import BaseTarget


@MODELS.register_module()
class CombinedTarget(BaseTarget):
    """Concatenated features of several targets: ``[B, L, sum of their out_dim]`` (CrossMAE, Table 9: CLIP and HOG).
    ``out_dims`` are the widths of the parts, for heads and predictors that treat them separately.

    Args:
        targets: Their configs, of targets that are float tensors ``[B, L, D]``.
        patch_size, in_chans, grid_size: Filled in by the algorithm.

    Raises:
        ValueError: No targets, targets on different grids, or a target that needs fitting or gives discrete tokens.
    """

    def __init__(
        self,
        targets: Sequence[dict],
        patch_size: Size = 16,
        in_chans: int = 3,
        grid_size: Tuple[int, int] = (14, 14),
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not targets:
            raise ValueError('targets=[]: CombinedTarget needs at least one')
        self.patch_grid = tuple(grid_size)
        self.targets = nn.ModuleList(
            build_part(cfg, f'target.targets.{i}', patch_size=patch_size, in_chans=in_chans, grid_size=grid_size)
            for i, cfg in enumerate(targets)
        )
        if any(target.needs_fit for target in self._targets()):
            raise ValueError('a target that has to see images before training (PCATarget) cannot be combined')
        if any(target.discrete for target in self._targets()):
            raise ValueError('a target of discrete tokens (DALLETarget) cannot be combined: it has a loss of its own')
        if not self.moves:  # the grid of a momentum encoder is not known yet
            _ = self.grid_size  # raises

    def _targets(self) -> List[BaseTarget]:
        return cast(List[BaseTarget], list(self.targets))  # a ModuleList does not say of what

    @property
    def grid_size(self) -> Tuple[int, int]:
        """(h, w) of all targets; that of a momentum encoder is known once it follows one."""
        grids = {tuple(getattr(target, 'grid_size', None) or self.patch_grid) for target in self._targets()}
        if len(grids) > 1:
            raise ValueError(f'the targets live on different grids, {sorted(grids)}: they cannot be combined')
        return grids.pop()

    @property
    def out_dims(self) -> Tuple[int, ...]:
        return tuple(target.out_dim for target in self._targets())

    @property
    def out_dim(self) -> int:  # type: ignore[override]  # an attribute of other targets
        return sum(self.out_dims)

    @property
    def moves(self) -> bool:  # type: ignore[override]
        return any(target.moves for target in self._targets())

    def follow(self, encoder: BaseEncoder, projector: Optional[nn.Module] = None, has_predictor: bool = False) -> None:
        for target in self._targets():
            target.follow(encoder, projector, has_predictor)

    def follow_predictors(self, predictors: Sequence[nn.Module]) -> None:
        for target, predictor in zip(self._targets(), predictors):
            target.follow_predictors([predictor])

    def reset(self) -> None:
        for target in self._targets():
            target.reset()

    def update(self) -> None:
        for target in self._targets():
            target.update()

    def set_image_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        for target in self._targets():
            target.set_image_statistics(mean, std)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([target(images).to(images.dtype) for target in self.targets], dim=-1)
