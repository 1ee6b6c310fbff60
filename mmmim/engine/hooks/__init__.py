from .bad_images import BadImagesHook
from .check_data import CheckAnnotationsHook, CheckClassesHook, CheckMasksHook
from .check_pixels import CheckPixelsHook
from .checkpoint import AtomicCheckpointHook, ExportEncoderHook
from .health import HealthHook
from .load_from import LoadFromHook
from .methods import CosineMomentumHook, DiscriminatorHook, FitTargetHook, StepSeedHook
from .progress import ProgressHook
from .run_record import RunRecordHook
from .run_state import RunStateHook
from .runtime_info import DeferredRuntimeInfoHook
from .target_cache import TargetCacheHook
from .validation import KNNHook, MissedValidationHook, ReconstructionHook

__all__ = [
    'AtomicCheckpointHook',
    'BadImagesHook',
    'CheckAnnotationsHook',
    'CheckClassesHook',
    'CheckMasksHook',
    'CheckPixelsHook',
    'CosineMomentumHook',
    'DeferredRuntimeInfoHook',
    'DiscriminatorHook',
    'ExportEncoderHook',
    'FitTargetHook',
    'HealthHook',
    'KNNHook',
    'LoadFromHook',
    'MissedValidationHook',
    'ProgressHook',
    'ReconstructionHook',
    'RunRecordHook',
    'RunStateHook',
    'StepSeedHook',
    'TargetCacheHook',
]
