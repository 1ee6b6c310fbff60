"""What the OpenMMLab libraries import from transformers, put off or left out."""

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
    """Within it MMEngine's optimizers can be imported without transformers, of which they register one optimizer.

    That takes a second of every process. ``type='Adafactor'`` is registered as ever, and imports transformers when it
    is built. Does nothing where transformers is not installed, or is imported already.
    """
    if 'transformers' in sys.modules or find_spec('transformers') is None:
        yield
        return
    module = ModuleType('transformers')
    module.__spec__ = ModuleSpec('transformers', None)
    module.Adafactor = Adafactor  # type: ignore[attr-defined]  # a module has what is put there
    sys.modules['transformers'] = module
    try:
        yield
    finally:
        sys.modules.pop('transformers', None)


def leave_out_multimodal() -> None:
    """Let ``mmpretrain.models`` import where transformers 5 is installed: without its multimodal models, which need 4.

    To be called before mmpretrain's models are imported. Those that are left out say that they lack their requirements.
    """
    try:
        release = version('transformers')
    except PackageNotFoundError:
        return
    if int(release.partition('.')[0]) >= 5 and find_spec('mmpretrain') is not None:
        for module in ('mmpretrain.utils.dependency', 'mmpretrain.utils'):
            importlib.import_module(module).WITH_MULTIMODAL = False  # type: ignore[attr-defined]  # also where absent
