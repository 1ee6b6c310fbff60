from .epoch_loop import ResumableEpochLoop
from .host_epoch_loop import HostEpochLoop, LateBatchSampler
from .tta_loop import AugmentedTestLoop

__all__ = ['AugmentedTestLoop', 'HostEpochLoop', 'LateBatchSampler', 'ResumableEpochLoop']
