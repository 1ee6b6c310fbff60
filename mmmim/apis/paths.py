"""Where the configs and the tools are: in the checkout, or beside an installed package.

A checkout's folder ``X`` is installed as ``mmmim_X`` beside ``mmmim`` (setup.py).
"""

from pathlib import Path

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
