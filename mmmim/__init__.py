"""Masked-image-modelling pre-training for the OpenMMLab toolboxes.

Importing this registers everything (``custom_imports = dict(imports=['mmmim'])`` in a config of another toolbox relies
on it). If requirements are missing, the import fails and names them all; only the command `mmmim` starts without them,
so that `mmmim doctor` can say what to install.
"""

import importlib.util
import multiprocessing
import os
import re
import sys

from . import moved
from .version import __version__

# Requirements of pre-training, checked before anything is imported: one message names all that are missing, and
# MMEngine's registries, which turn a failed import into a warning, do not hide it.
_NEEDED = ('torch', 'torchvision', 'numpy', 'PIL', 'cv2', 'mmengine', 'timm', 'safetensors', 'jinja2', 'tqdm')
# Scripts of a checkout that call the same command.
_SCRIPTS = (
    'cli.py',
    'convert_checkpoint.py',
    'datasets/make_shards.py',
    'doctor.py',
    'test.py',
    'train.py',
    'visualize/features.py',
    'visualize/predict.py',
    'visualize/reconstruct.py',
    'visualize/report.py',
)
_LAZY = ('compare', 'embed', 'export', 'finetune', 'load', 'load_encoder', 'predict', 'pretrain')

_ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # root of the checkout, if there is one

__all__ = ['__version__', *_LAZY]


def register_all() -> None:
    """Register ``mmmim.X`` for every OpenMMLab config, and install the safe checkpoint loader.

    Raises:
        ModuleNotFoundError: Requirements are missing; the message names them all.
        ImportError: A requirement is installed but cannot be imported.
    """
    missing = [name for name in _NEEDED if name not in sys.modules and importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f'mmmim needs {", ".join(missing)}, which cannot be found by {sys.executable}. {_ask_the_doctor()}.',
            name=missing[0],
        )
    try:
        from .deferred import transformers_deferred

        with transformers_deferred():
            import mmengine.optim  # noqa: F401
        from . import registry  # noqa: F401
        from .checkpoint import install_safe_loader
        from .config.load import install_config_names
    except Exception as error:  # an installed library that fails to load may raise anything
        raise ImportError(f'mmmim cannot be imported: {type(error).__name__}: {error}. {_ask_the_doctor()}.') from error
    install_safe_loader()
    install_config_names()
    moved.install()


def _ask_the_doctor() -> str:
    script = os.path.join(_ROOT, 'tools', 'doctor.py')
    if not os.path.isfile(script):
        return '`mmmim doctor` says what to install'
    shown = os.path.relpath(script)
    return f'`python {script if shown.startswith(os.pardir) else shown}` says what to install'


def _is_the_command() -> bool:
    """Whether this process is the command: `mmmim`, `python -m mmmim`, or a script that stands for it.

    It registers once it has looked at its arguments.
    """
    if multiprocessing.parent_process() is not None:  # of a worker that inherited the arguments
        return False
    started = os.path.realpath(next(iter(getattr(sys, 'argv', [])), ''))
    if any(started == os.path.join(_ROOT, 'tools', script) for script in _SCRIPTS):
        return True
    return _module_that_runs(sys.orig_argv) == 'mmmim' or _is_the_console_script(started)


def _module_that_runs(words: list) -> str:
    """Of ``python -m MODULE ...``: options end at the first word that is none."""
    rest = iter(words[1:])
    for word in rest:
        if word in ('-X', '-W'):
            next(rest, None)
        elif word.endswith('m') and re.fullmatch('-[a-zA-Z]+', word):
            return next(rest, '')
        elif not word.startswith('-') or word == '-c':
            break
    return ''


def _is_the_console_script(path: str) -> bool:
    """Whether pip wrote this file for our entry point: anybody's script may have the name."""
    if os.path.basename(path) not in ('mmmim', 'mmmim.exe'):
        return False
    try:
        with open(path, 'rb') as file:
            return b'mmmim.cli' in file.read()
    except OSError:
        return False


if not _is_the_command():
    register_all()


def __getattr__(name: str):
    """The public functions, imported on first access."""
    if name in _LAZY:
        from . import apis

        found = getattr(apis, name)
        return getattr(found, name, found)  # `import mmmim.apis.load_encoder`, an old name, puts a module there
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list:
    return sorted({*globals(), *_LAZY})
