"""Reads a checkpoint file safely, without executing code from it.

``torch.load(weights_only=True)`` interprets a pickle with an allow-list of names: torch's own (tensors,
``OrderedDict``) and those of :mod:`mmmim.checkpoint.plain_types`. A file that needs more is refused.
"""

import json
import os
import os.path as osp
import pickletools
import re
import zipfile
from collections import OrderedDict
from os import PathLike
from typing import IO, Any, Callable, Dict, List, Set, Union

import torch
from torch import Tensor

from .plain_types import ALLOWED

AnyPath = Union[str, PathLike[str]]
StateDict = Dict[str, Tensor]
# Where tensors go, as in `torch.load`; None means the CPU.
MapLocation = Union[str, torch.device, Dict[str, str], Callable[..., Any], None]


class UnsafeCheckpointError(RuntimeError):
    """The file uses functions or classes that weights do not need."""


class CorruptCheckpointError(RuntimeError):
    """The file is empty, truncated, damaged, or no checkpoint at all."""


# the first bytes of files that are mistaken for checkpoints
_MAGIC = {
    b'\xff\xd8\xff': 'a JPEG image',
    b'\x89PNG': 'a PNG image',
    b'GIF8': 'a GIF image',
    b'%PDF': 'a PDF document',
    b'\x93NUMPY': 'a numpy array (.npy)',
    b'\x1f\x8b': 'gzip-compressed: unpack it first',
    b'\x89HDF': 'an HDF5 file (Keras?)',
    b'GGUF': 'a GGUF file',
}


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
        UnsafeCheckpointError: The file uses names outside :data:`ALLOWED`; nothing of it was executed.
        CorruptCheckpointError: The file is empty, truncated, damaged, or no checkpoint.
    """
    path = osp.expanduser(os.fspath(path))
    map_location = 'cpu' if map_location is None else map_location
    if osp.isdir(path):
        raise IsADirectoryError(f'{path} is a folder: give the path of a checkpoint file in it.')
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path} can not be found: there is no checkpoint file at this path.')
    if osp.getsize(path) == 0:
        raise CorruptCheckpointError(_corrupt_message(path, 'it is empty'))
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
            # plain item access: methods of an OrderedDict from a file can be shadowed by its attributes
            if isinstance(holder, dict) and key in holder and isinstance(holder[key], (str, bytes)):
                holder[f'{key}_text'] = holder[key]
                del holder[key]
    return checkpoint


def _load_torch(path: str, map_location: MapLocation) -> Any:
    # Names that other code added to torch's process-wide allow-list would extend ours, or replace the guarded numpy
    # parts.
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(list(ALLOWED))
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if 'Attempting to deserialize object on' in str(error):  # it asks for a GPU that does not exist
            raise
        raise _explain(path, error) from None
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def _load_safetensors(path: str, map_location: MapLocation) -> Dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    device = str(map_location) if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        with safe_open(path, framework='pt', device=device) as file:
            metadata = dict(file.metadata() or {})
            state_dict = OrderedDict((name, file.get_tensor(name)) for name in file.keys())
        if 'mmmim_config' in metadata:
            metadata = dict(config=json.loads(metadata['mmmim_config']))
    except (SafetensorError, ValueError) as error:
        raise CorruptCheckpointError(_corrupt_message(path, str(error))) from None
    return dict(state_dict=state_dict, meta=metadata)


def _explain(path: str, error: Exception) -> RuntimeError:
    """Turns torch's error into ours: unsafe if the file uses names outside the allow-list, else corrupt."""
    message = str(error)
    if 'TorchScript' in message:
        return UnsafeCheckpointError(
            f'{path} is a TorchScript archive, which holds code. It was not loaded. Save the '
            "weights alone: torch.save(model.state_dict(), 'weights.pth')."
        )
    found = _globals_in(path)
    wanted = found - _accepted_by_torch() - {name for _, name in ALLOWED}
    if not any(name.endswith('.HistoryBuffer') for name in found):
        wanted |= found & {'builtins.getattr'}  # only a history may use it
    wanted.update(re.findall(r'GLOBAL (\S+) (?:was not|whose module)', message))
    # builtins are shown by torch without their module: name each only once
    wanted = {name for name in wanted if f'builtins.{name}' not in wanted}
    if not wanted:
        wanted = set(re.findall('.*(?:unrecognized function|Can only).*', message)[:1])
    if not wanted:
        reason = message.strip().splitlines()[0] if message.strip() else type(error).__name__
        return CorruptCheckpointError(_corrupt_message(path, reason))
    return UnsafeCheckpointError(
        f'{path} was refused, and nothing in it was run: besides tensors and plain data it wants '
        f'{", ".join(sorted(wanted))}. If a stranger made it, delete it. If you trust its author, save its weights '
        'alone once, on a machine where running its code does no harm: '
        "c = torch.load('IN', weights_only=False); torch.save({'state_dict': c.get('state_dict', c)}, 'OUT')."
    )


def _accepted_by_torch() -> Set[str]:
    """Names that torch itself accepts, to be left out of an error message."""
    try:
        from torch._weights_only_unpickler import _get_allowed_globals
    except ImportError:  # a private module of torch, which may move
        return set()
    return set(_get_allowed_globals())


def _globals_in(path: str) -> Set[str]:
    """Lists the names in the pickles of a file by disassembling them: nothing is executed."""
    names: Set[str] = set()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if member.endswith('data.pkl'):
                        with archive.open(member) as file:
                            _disassemble(file, names)
        else:
            with open(path, 'rb') as file:
                while True:  # the older format is a sequence of pickles, then raw storages
                    _disassemble(file, names)
    except Exception:  # the end of the pickles, or garbage: the names found so far are the answer
        pass
    return names


def _disassemble(file: IO[bytes], names: Set[str]) -> None:
    strings: List[str] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ('GLOBAL', 'INST'):
            name = str(argument).replace(' ', '.')
            names.add(re.sub(r'^__builtin__\.', 'builtins.', name))  # Python 2's name, which protocol 2 still writes
        elif opcode.name == 'STACK_GLOBAL' and len(strings) > 1:
            names.add('.'.join(strings[-2:]))
        elif isinstance(argument, str):
            strings = strings[-1:] + [argument]


def _corrupt_message(path: str, reason: str) -> str:
    with open(path, 'rb') as file:
        head = file.read(64).lstrip().lower()
    if head.startswith((b'<!doctype', b'<html', b'<?xml')):
        reason = 'it is a web page, probably an error page saved under this name'
    elif head.startswith(b'version https://git-lfs'):
        reason = 'it is a Git LFS pointer, not the file itself: run `git lfs pull`'
    elif kind := _other_kind(path):
        return f'{path} ({osp.getsize(path)} bytes) is not a readable checkpoint: it is {kind}. Give the right file.'
    elif head.startswith(b'pk\x03\x04') and not zipfile.is_zipfile(path):
        reason = f'it is cut off: the table of contents at its end is missing ({reason})'
    return (
        f'{path} ({osp.getsize(path)} bytes) is not a readable checkpoint: {reason}. It may be cut off or damaged: '
        'copy or download it again, or resume from the checkpoint before it.'
    )


def _other_kind(path: str) -> str:
    """The kind of a file that is no checkpoint, by its first bytes; empty if it may be a damaged one."""
    with open(path, 'rb') as file:
        head = file.read(4096)
    if zipfile.is_zipfile(path):  # complete: a truncated checkpoint has lost the table at its end
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith('data.pkl') for name in names):
            return 'written by torch.save: name it .pth' if path.endswith('.safetensors') else ''
        return f'a zip archive of other files ({", ".join(names[:3])}{" ..." if len(names) > 3 else ""})'
    if head[8:10] == b'{"' and not path.endswith('.safetensors'):
        return 'a safetensors file: name it .safetensors'
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if re.fullmatch(rb'[\t\n\r\x20-\x7e]{16,}', head):
        return 'a text file'
    return ''
