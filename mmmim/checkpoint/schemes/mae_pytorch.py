"""MAE-pytorch (pengzhiliang): BEiT's blocks under ``encoder.``, positions that count the patches one by one."""

from typing import Collection, Optional, Tuple

import torch
from torch import Tensor

from ..read import StateDict
from . import timm
from .base import Scheme


class MAEPyTorch(Scheme):
    """The pre-training model of MAE-pytorch: no class token, and a fixed table of one dimension that no file holds."""

    name = 'mae-pytorch'

    def recognises(self, names: Collection[str]) -> bool:
        return 'encoder_to_decoder.weight' in names and 'encoder.patch_embed.proj.weight' in names

    def to_ours(self, state: StateDict) -> StateDict:
        encoder = {name.removeprefix('encoder.'): v for name, v in state.items() if name.startswith('encoder.')}
        rest = {
            name.replace('encoder_to_decoder.', 'decoder.embed.'): value
            for name, value in state.items()
            if not name.startswith('encoder.')
        }
        return {**timm.Timm().to_ours(encoder), **rest}

    def absent_positions(
        self, names: Collection[str], width: int, grid: Tuple[int, int], prefix: int
    ) -> Optional[Tensor]:
        """Sines in even channels, cosines in odd ones, of the number of the patch; not of its row and column."""
        channel = torch.arange(width, dtype=torch.float64)
        rate = 10000.0 ** (-2 * (channel // 2) / width)
        angle = torch.arange(grid[0] * grid[1], dtype=torch.float64)[:, None] * rate  # [h * w, D]
        table = torch.where(channel % 2 == 0, angle.sin(), angle.cos())
        return torch.cat([table.new_zeros(prefix, width), table])[None].to(torch.get_default_dtype())
