"""Defer or leave out the OpenMMLab libraries' imports of transformers."""

import importlib
import sys
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Iterator


def Adafactor(*args: Any, **kwargs: Any) -> Any:
    """transformers' optimizer, with its arguments; transformers is imported now."""
    from transformers import Adafactor as optimizer

    return optimizer(*args, **kwargs)


@contextmanager
def transformers_deferred() -> Iterator[None]:
    """Context that imports MMEngine's optimizers without transformers, from which they register one optimizer.

    Importing it takes a second in every process. ``type='Adafactor'`` is registered as usual, and imports transformers
    when it is built. Does nothing where transformers is not installed, or is imported already.
    """
    if 'transformers' in sys.modules or find_spec('transformers') is None:
        yield
        return
    module = ModuleType('transformers')
    module.__spec__ = ModuleSpec('transformers', None)
    module.Adafactor = Adafactor  # type: ignore[attr-defined]  # modules accept new attributes
    sys.modules['transformers'] = module
    try:
        yield
    finally:
        sys.modules.pop('transformers', None)


def leave_out_multimodal() -> None:
    """Make ``mmpretrain.models`` importable with transformers 5: without its multimodal models, which need 4.

    Call it before mmpretrain's models are imported. The models left out report missing requirements.
    """
    try:
        release = version('transformers')
    except PackageNotFoundError:
        return
    if int(release.partition('.')[0]) >= 5 and find_spec('mmpretrain') is not None:
        for module in ('mmpretrain.utils.dependency', 'mmpretrain.utils'):
            importlib.import_module(module).WITH_MULTIMODAL = False  # type: ignore[attr-defined]  # also where absent
