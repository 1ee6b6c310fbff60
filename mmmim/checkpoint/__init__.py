"""Checkpoints: read safely, written atomically, translated, loaded completely or not at all."""

from .hub import install_safe_loader
from .read import CorruptCheckpointError, UnsafeCheckpointError, load_file
from .write import (
    CheckpointWriteError,
    atomic_save,
    atomic_write_bytes,
    atomic_write_text,
    export_encoder,
    remove_stale_temporaries,
)

__all__ = [
    'CheckpointWriteError',
    'CorruptCheckpointError',
    'UnsafeCheckpointError',
    'atomic_save',
    'atomic_write_bytes',
    'atomic_write_text',
    'export_encoder',
    'install_safe_loader',
    'load_file',
    'remove_stale_temporaries',
]
