"""Reads a checkpoint file safely, without executing code from it.

``torch.load(weights_only=True)`` with our own interpreter of pickles (:mod:`mmmim.checkpoint.unpickler`) and its table
of names: torch's (tensors, ``OrderedDict``) and those of :mod:`mmmim.checkpoint.plain_types`. A file that needs more is
refused.
"""

import json
import os
import os.path as osp
import zipfile
from collections import OrderedDict
from os import PathLike
from typing import Any, Callable, Dict, Union

import torch
from torch import Tensor

from .plain_types import RefusedPickle
from .refusal import (
    TORCHSCRIPT,
    CorruptCheckpointError,
    UnsafeCheckpointError,
    corrupt,
    folder,
    kind_of,
    names_in,
    unsafe,
)
from .unpickler import in_place_of_torchs

__all__ = [
    'AnyPath',
    'CorruptCheckpointError',
    'MapLocation',
    'StateDict',
    'UnsafeCheckpointError',
    'disarm_config',
    'load_file',
]

AnyPath = Union[str, PathLike[str]]
StateDict = Dict[str, Tensor]
# Where tensors go, as in `torch.load`; None means the CPU.
MapLocation = Union[str, torch.device, Dict[str, str], Callable[..., Any], None]


def load_file(path: AnyPath, map_location: MapLocation = 'cpu') -> Any:
    """Reads a checkpoint file as data.

    Args:
        path: A ``.safetensors`` file, or any file written by ``torch.save`` (zip or the older format).
        map_location: Where tensors go, as in ``torch.load``. None means the CPU.

    Returns:
        The content of the file. For ``.safetensors``: ``dict(state_dict=..., meta=dict(config=...))`` with the config
        that :func:`mmmim.checkpoint.export_encoder` stored, or the file's own metadata. A config text inside a training
        checkpoint is under ``cfg_text`` (see :func:`disarm_config`).

    Raises:
        FileNotFoundError, IsADirectoryError: With the path.
        UnsafeCheckpointError: The file needs functions or classes that are not plain data; nothing of it was executed.
        CorruptCheckpointError: The file is empty, truncated, damaged (a record's CRC-32 sum is compared), too long, or
            no checkpoint.
    """
    path = osp.expanduser(os.fspath(path))
    map_location = 'cpu' if map_location is None else map_location
    if osp.isdir(path):
        raise folder(path)
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path} can not be found: there is no checkpoint file at this path.')
    if osp.getsize(path) == 0:
        raise corrupt(path, 'it is empty')
    if path.endswith('.safetensors'):
        return _load_safetensors(path, map_location)
    return disarm_config(_load_torch(path, map_location))


def disarm_config(checkpoint: Any) -> Any:
    """Moves config texts to a name that nothing executes: ``cfg`` -> ``cfg_text``, ``config`` -> ``config_text``.

    MMEngine's ``Runner.resume`` runs ``meta['config']`` as Python, its inferencer ``meta['cfg']`` or the message hub's
    copy. Both accept that the entry is absent. The text stays for comparison.
    """
    if not isinstance(checkpoint, dict):
        return checkpoint
    meta = checkpoint['meta'] if 'meta' in checkpoint else None
    hub = checkpoint['message_hub'] if 'message_hub' in checkpoint else None
    info = hub['runtime_info'] if isinstance(hub, dict) and 'runtime_info' in hub else None
    for holder in (meta, info):
        for key in ('cfg', 'config'):
            if isinstance(holder, dict) and key in holder and isinstance(holder[key], (str, bytes)):
                holder[f'{key}_text'] = holder[key]
                del holder[key]
    return checkpoint


def _load_torch(path: str, map_location: MapLocation) -> Any:
    with open(path, 'rb') as file:
        is_zip = file.read(4).startswith(b'PK')
        if is_zip:
            _check_zip(path)
        file.seek(0)
        try:
            with in_place_of_torchs():
                content = torch.load(file, map_location=map_location, weights_only=True)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except RefusedPickle as error:
            if kind_of(path) and not names_in(path):
                raise corrupt(path, '') from None
            raise unsafe(path, str(error)) from None
        except Exception as error:
            if 'Attempting to deserialize object on' in str(error):  # it asks for a GPU that does not exist
                raise
            raise _unreadable(path, error) from None
        if not is_zip and (rest := osp.getsize(path) - file.tell()):
            raise corrupt(path, f'it is longer than it should be: {rest} bytes follow its end')
    return content


def _check_zip(path: str) -> None:
    """Compares the CRC-32 sum of each record, which ``torch.load`` does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            records, end = archive.infolist(), 22 + len(archive.comment)
            names = {record.filename.split('/', 1)[-1] for record in records}
            if 'constants.pkl' in names:
                raise unsafe(path, TORCHSCRIPT)
            if 'data.pkl' not in names:
                raise corrupt(path, 'it has no data.pkl')
            if any(record.compress_type != zipfile.ZIP_STORED for record in records):
                raise corrupt(path, 'its records are compressed, which torch.save does not do: pack it with `zip -0`')
            if any(record.CRC for record in records) and (damaged := archive.testzip()):  # all 0: none were computed
                raise corrupt(path, f'its record {damaged} is damaged: the CRC-32 sum differs')
    except (UnsafeCheckpointError, CorruptCheckpointError):
        raise
    except Exception as error:  # zipfile raises many kinds
        cut = 'it is cut off: the table of contents at its end is missing'
        lost = 'not a zip file' in str(error)
        raise corrupt(path, cut if lost else f'its table of contents is damaged ({error})') from None
    with open(path, 'rb') as file:
        file.seek(-end, os.SEEK_END)
        if file.read(4) != b'PK\x05\x06':
            raise corrupt(path, 'it is longer than it should be: other bytes follow its end')


def _unreadable(path: str, error: Exception) -> Exception:
    """The error for a file in which torch met something else than refused names."""
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    if isinstance(error, EOFError) or 'unexpected EOF' in reason or 'Ran out of input' in reason:
        return corrupt(path, f'it is cut off ({reason})')
    if 'magic number' in reason or 'weights_only' in str(error):
        reason = 'a pickle that torch.save has not written: read it where it was made, and torch.save the weights'
    return corrupt(path, f'it is damaged, or no checkpoint ({reason})')


def _load_safetensors(path: str, map_location: MapLocation) -> Dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    device = str(map_location) if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        with safe_open(path, framework='pt', device=device) as file:
            metadata = dict(file.metadata() or {})
            state_dict = OrderedDict((name, file.get_tensor(name)) for name in file.keys())
        if 'mmmim_config' in metadata:
            metadata = dict(config=json.loads(metadata['mmmim_config']))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise corrupt(path, _safetensors_fault(path, str(error))) from None
    return dict(state_dict=state_dict, meta=metadata)


def _safetensors_fault(path: str, reason: str) -> str:
    """What the header says of the size: there is no sum to compare."""
    size = osp.getsize(path)
    try:
        with open(path, 'rb') as file:
            length = int.from_bytes(file.read(8), 'little')
            if length > size - 8:
                return f'it is cut off, or damaged at its start: a header of {length} bytes is announced'
            header = json.loads(file.read(length))
        whole = 8 + length + max(entry['data_offsets'][1] for name, entry in header.items() if name != '__metadata__')
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return f'its header is damaged ({reason})'
    if whole > size:
        return f'it is cut off: {whole} bytes are announced'
    return (
        f'it is longer than it should be: {whole} bytes are announced' if whole < size else f'it is damaged ({reason})'
    )
