"""Libraries that MMEngine imports for one name, put off until that name is used."""

import sys
from contextlib import contextmanager
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
    module.Adafactor = Adafactor  # type: ignore[attr-defined]  # a module has what is put there
    sys.modules['transformers'] = module
    try:
        yield
    finally:
        sys.modules.pop('transformers', None)
