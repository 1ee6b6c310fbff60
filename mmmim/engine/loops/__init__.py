from .epoch_loop import ResumableEpochLoop
from .tta_loop import AugmentedTestLoop

__all__ = ['AugmentedTestLoop', 'ResumableEpochLoop']
