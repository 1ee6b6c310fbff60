"""Norms: layer norm over the channels of a map, and synchronised batch norm over all ranks."""

import torch
import torch.distributed as dist
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from ...registry import MODELS


class _CrossRankBatchNorm(_BatchNorm):
    """Statistics of channel 1 over all other axes and all ranks; torch's ``SyncBatchNorm`` needs an accelerator.

    Results and gradients equal those of one process with the whole batch; ranks may hold different numbers of rows and,
    in two dimensions, maps of different sizes.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        self._check_input_dim(x)
        axes, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # sums in bf16 lose precision
        sums = torch.cat([wide.new_full((1,), wide.numel() // wide.shape[1]), wide.sum(axes)])
        sums = all_reduce(sums)
        count, mean = sums[:1], sums[1:] / sums[:1]
        centred = wide - mean.reshape(shape)
        var = all_reduce((centred**2).sum(axes)) / count
        with torch.no_grad():
            self._update_running_statistics(count, mean, var)
        normalised = centred * (var + self.eps).rsqrt().reshape(shape)
        if self.affine:
            normalised = normalised * self.weight.reshape(shape) + self.bias.reshape(shape)
        return normalised.to(x.dtype)

    def _update_running_statistics(self, count: Tensor, mean: Tensor, var: Tensor) -> None:
        if not self.track_running_stats:
            return
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        unbiased = var * count / (count - 1)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)


@MODELS.register_module()
class CrossRankBatchNorm1d(_CrossRankBatchNorm, nn.BatchNorm1d):
    """``BatchNorm1d`` for ``[N, D]`` with statistics over all ranks."""


@MODELS.register_module()
class CrossRankBatchNorm2d(_CrossRankBatchNorm, nn.BatchNorm2d):
    """``BatchNorm2d`` for ``[B, C, H, W]`` with statistics over all ranks, as ``norm_cfg`` of mmcv's convolutions."""


# norm_cfg=dict(type='mmmim.LayerNorm2d', eps=1e-6): over the channels of each position of [B, C, H, W], as in ViTDet
MODELS.register_module(module=LayerNorm2d)
