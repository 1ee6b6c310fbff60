from .epoch_loop import ResumableEpochLoop
from .toolbox_loops import AugmentedTestLoop, HostEpochLoop, LateBatchSampler

__all__ = ['AugmentedTestLoop', 'HostEpochLoop', 'LateBatchSampler', 'ResumableEpochLoop']
