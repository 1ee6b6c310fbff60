from .bad_images import BadImagesHook
from .check_data import CheckAnnotationsHook, CheckClassesHook, CheckMasksHook
from .checkpoint import AtomicCheckpointHook
from .discriminator import DiscriminatorHook
from .export_encoder import ExportEncoderHook
from .fit_target import FitTargetHook
from .knn import KNNHook
from .missed_validation import MissedValidationHook
from .momentum import CosineMomentumHook
from .progress import ProgressHook
from .reconstruction import ReconstructionHook
from .run_record import RunRecordHook
from .run_state import RunStateHook
from .runtime_info import DeferredRuntimeInfoHook
from .step_seed import StepSeedHook

__all__ = [
    'AtomicCheckpointHook',
    'BadImagesHook',
    'CheckAnnotationsHook',
    'CheckClassesHook',
    'CheckMasksHook',
    'CosineMomentumHook',
    'DeferredRuntimeInfoHook',
    'DiscriminatorHook',
    'ExportEncoderHook',
    'FitTargetHook',
    'KNNHook',
    'MissedValidationHook',
    'ProgressHook',
    'ReconstructionHook',
    'RunRecordHook',
    'RunStateHook',
    'StepSeedHook',
]
