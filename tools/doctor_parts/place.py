"""Where the doctor stands (a checkout, or an installed copy) and how commands are written from there."""

import os
import shlex
import sys

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(TOOLS)
# setup.py installs the checkout's folder X beside the package, as mmmim_X
INSTALLED = os.path.basename(TOOLS) == 'mmmim_tools'
CHECKOUT = None if INSTALLED else ROOT
CONFIGS, REQUIREMENTS = (
    os.path.join(ROOT, ('mmmim_' if INSTALLED else '') + name) for name in ('configs', 'requirements')
)


def short(path: str) -> str:
    """A path as one would type it here: relative to the current folder when it lies below, quoted for the shell."""
    try:
        relative, below = os.path.relpath(path), os.getcwd() != os.sep
    except OSError:  # the current folder was removed
        relative, below = os.pardir, False
    below = below and not relative.startswith(os.pardir)
    return shlex.quote(relative if below else path)


def python() -> str:
    """This interpreter, as the first word of a command."""
    return short(sys.executable)


def in_own_venv() -> bool:
    """Whether this interpreter is that of the environment that tools/setup_env.sh makes."""
    return CHECKOUT is not None and os.path.realpath(sys.prefix) == os.path.realpath(os.path.join(CHECKOUT, '.venv'))


def doctor() -> str:
    """How the doctor is called from here."""
    return f'{python()} {short(os.path.join(TOOLS, "doctor.py"))}'
