"""Paths of the files that come with mmmim, and command lines for messages. Standard library only."""

import os
import os.path as osp
import shutil
import sys
from pathlib import Path
from typing import List, Optional

PACKAGE = Path(__file__).resolve().parents[1]
# a file that distinguishes the folder from another project's of the same name
_MARKS = dict(configs='_base_/default_runtime.py', requirements='constraints.txt')


def shipped(name: str) -> Path:
    """The folder ``configs`` or ``requirements``: inside an installed package, or at the top of a checkout.

    Raises:
        FileNotFoundError: There is neither.
    """
    for folder in (PACKAGE / name, PACKAGE.parent / name):
        if (folder / _MARKS[name]).is_file():
            return folder
    raise FileNotFoundError(
        f'there is no folder {name}/ in {PACKAGE} or beside it: this copy of mmmim is incomplete; install it again'
    )


def checkout() -> Optional[Path]:
    """The checkout that this package is part of; None where it was installed from a wheel."""
    return PACKAGE.parent if (PACKAGE.parent / 'tools/setup_env.sh').is_file() else None


def configs_folder() -> Path:
    """The folder of configs, see :func:`shipped`."""
    return shipped('configs')


def find_config(path: str) -> str:
    """A config by its path, or by its name among those that came with mmmim: ``mae/vit-b_800e.py``.

    The name may begin with ``mmmim::`` or ``configs/``. What is not found is returned as it is.
    """
    if osp.exists(path):
        return path
    ours = configs_folder() / path.removeprefix('mmmim::').removeprefix('configs/')
    return str(ours) if ours.is_file() else path


def command(name: str) -> List[str]:
    """The command line of a `mmmim` command, whether or not the environment is activated."""
    return [python(), '-m', 'mmmim', name]


def python() -> str:
    """The command line of this Python."""
    found = shutil.which('python')
    return 'python' if found and osp.abspath(found) == sys.executable else relative_to_here(sys.executable)


def relative_to_here(path: str) -> str:
    """A path as one would type it: relative when it lies below the current folder."""
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.startswith(os.pardir) else relative
