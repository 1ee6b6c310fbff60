"""Batch normalisation over the whole batch of all ranks, on CPU and GPU."""
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from ..registry import MODELS


@MODELS.register_module()
class CrossRankBatchNorm1d(nn.BatchNorm1d):
    """``BatchNorm1d`` for ``[N, D]`` whose statistics cross ranks; torch's ``SyncBatchNorm`` needs an accelerator.

    The result and the gradient in the ranks equal those of one process with the whole batch; ranks may hold
    different numbers of rows.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # sums of bf16 values lose digits
        sums = torch.cat([wide.new_full((1, ), len(wide)), wide.sum(0)])
        sums = all_reduce(sums)
        count, mean = sums[:1], sums[1:] / sums[:1]
        centred = wide - mean
        var = all_reduce((centred**2).sum(0)) / count
        with torch.no_grad():
            self._update_running_statistics(count, mean, var)
        normalised = centred * (var + self.eps).rsqrt()
        if self.affine:
            normalised = normalised * self.weight + self.bias
        return normalised.to(x.dtype)

    def _update_running_statistics(self, count: Tensor, mean: Tensor, var: Tensor) -> None:
        if not self.track_running_stats:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        unbiased = var * count / (count - 1)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
