"""Where the configs and the tools are: in the checkout, or beside an installed package.

A checkout's folder ``X`` is installed as ``mmmim_X`` beside ``mmmim`` (setup.py).
"""

import os
import os.path as osp
import shutil
import sys
from pathlib import Path
from typing import List

# a file that tells the folder from another project's of the same name
_MARKS = dict(configs='_base_/default_runtime.py', tools='train.py')


def configs_folder() -> Path:
    """The folder of configs: ``configs/`` of the checkout, or the installed copy.

    Raises:
        FileNotFoundError: There is neither.
    """
    return _folder('configs')


def tools_folder() -> Path:
    """The folder of scripts: ``tools/`` of the checkout, or the installed copy.

    Raises:
        FileNotFoundError: There is neither.
    """
    return _folder('tools')


def _folder(name: str) -> Path:
    beside = Path(__file__).resolve().parents[2]
    for folder in (beside / f'mmmim_{name}', beside / name):
        if (folder / _MARKS[name]).is_file():
            return folder
    raise FileNotFoundError(
        f'there is no folder {name}/ or mmmim_{name}/ in {beside}: this copy of mmmim is '
        'incomplete; install it again from a checkout (pip install -e PATH/TO/CHECKOUT)'
    )


def tool_here(name: str) -> List[str]:
    """How a script of tools/ is started from here, wherever that folder is."""
    return [_python(), relative_to_here(str(tools_folder() / name))]


def _python() -> str:
    """How this Python is started from here."""
    found = shutil.which('python')
    return 'python' if found and osp.abspath(found) == sys.executable else relative_to_here(sys.executable)


def relative_to_here(path: str) -> str:
    """A path as one would type it: relative when it lies below the current folder."""
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.startswith(os.pardir) else relative
