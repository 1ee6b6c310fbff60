"""Masked-image-modelling pre-training for the OpenMMLab toolboxes."""

import importlib.util
import os
import sys

from . import moved
from .version import __version__

# What pre-training imports, looked for before anything is imported: one message names all that is missing, and
# MMEngine's registries, which turn a failed import into a warning, do not hide it.
_NEEDED = ('torch', 'torchvision', 'numpy', 'PIL', 'cv2', 'mmengine', 'mmcv', 'timm', 'safetensors')
_LAZY = ('embed', 'load_encoder', 'pretrain')

__all__ = ['__version__', *_LAZY]


def _missing() -> list:
    return [name for name in _NEEDED if name not in sys.modules and importlib.util.find_spec(name) is None]


def _ask_the_doctor() -> str:
    script = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'tools', 'doctor.py')
    if not os.path.isfile(script):
        return '`mmmim doctor` says what to install'
    shown = os.path.relpath(script)
    return f'`python {script if shown.startswith(os.pardir) else shown}` says what to install'


if _missing():
    raise ModuleNotFoundError(
        f'mmmim needs {", ".join(_missing())}, which cannot be found by {sys.executable}. {_ask_the_doctor()}.',
        name=_missing()[0],
    )
try:
    from .deferred import transformers_deferred

    with transformers_deferred():
        import mmengine.optim  # noqa: F401
    from . import registry  # noqa: F401  (makes `mmmim.X` known to every OpenMMLab config)
    from .checkpoint import install_safe_loader
except Exception as error:  # a library that is there and fails to load raises whatever it likes
    raise ImportError(f'mmmim cannot be imported: {type(error).__name__}: {error}. {_ask_the_doctor()}.') from error

install_safe_loader()
moved.install()


def __getattr__(name: str):
    """``mmmim.pretrain``, ``mmmim.embed`` and ``mmmim.load_encoder``, imported when they are first asked for."""
    if name in _LAZY:
        from . import apis

        return getattr(apis, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list:
    return sorted({*globals(), *_LAZY})
