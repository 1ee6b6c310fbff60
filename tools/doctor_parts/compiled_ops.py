"""mmcv's compiled ops as they are installed, and what they were compiled for (written down by build_ops.py)."""

import importlib
import importlib.metadata
import json
import os
from typing import NamedTuple, Optional

PREFIX = 'mmcv/_ext.'  # of the compiled library, as wheels and installed distributions list it


class Ops(NamedTuple):
    """Ops that are installed.

    Attributes:
        mmcv: Release of mmcv.
        torch: Release of torch that they were compiled for; None where nobody wrote it down.
        gpu: GPU generations that they were compiled for, empty for the CPU alone; None as above.
    """

    mmcv: str
    torch: Optional[str] = None
    gpu: Optional[str] = None


def installed() -> Optional[Ops]:
    """The ops of this Python's mmcv; None without mmcv, or without ops."""
    for name in ('onedl-mmcv', 'mmcv', 'mmcv-full'):
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        library = _library(found)
        if library is None:
            continue
        try:
            with open(_record_path(found), encoding='utf-8') as file:
                record = json.load(file)
        except (OSError, ValueError):
            record = {}
        if record.get('library') != library:  # of a build that has been replaced
            return Ops(found.version)
        return Ops(found.version, record.get('torch'), record.get('gpu'))
    return None


def record(torch: str, gpu: str) -> None:
    """Write down what the installed ops were compiled for."""
    importlib.invalidate_caches()  # pip has just written it
    found = importlib.metadata.distribution('onedl-mmcv')
    with open(_record_path(found), 'w', encoding='utf-8') as file:
        json.dump(dict(library=_library(found), torch=torch, gpu=gpu), file)


def _library(found: importlib.metadata.Distribution) -> Optional[str]:
    """The line of RECORD with the library's name and hash, which tells one build from another."""
    lines = (found.read_text('RECORD') or '').splitlines()
    return next((line for line in lines if line.startswith(PREFIX)), None)


def _record_path(found: importlib.metadata.Distribution) -> str:
    """Beside the package, where it is this Python's and pip leaves it alone."""
    return os.path.join(str(found.locate_file('')), 'mmcv_ops.json')
