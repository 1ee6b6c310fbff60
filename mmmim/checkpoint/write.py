"""Writing is atomic: a path always holds a whole file, the old one or the new one. Export of the encoder."""

import json
import os
import os.path as osp
import re
import shutil
import socket
import time
from contextlib import suppress
from typing import IO, Any, Callable, Dict, List, Union

import torch
from torch import nn

from .read import AnyPath, StateDict


class CheckpointWriteError(OSError, RuntimeError):
    """A file could not be written; the one that was there before is untouched."""


def atomic_save(checkpoint: Any, path: AnyPath) -> None:
    """Writes ``checkpoint`` with ``torch.save`` so that ``path`` never holds a partial file (atomically).

    Raises:
        CheckpointWriteError: The disk is full or not writable; an earlier file at ``path`` is untouched.
    """
    atomic_write(path, lambda file: torch.save(checkpoint, file))


def atomic_write_text(path: AnyPath, text: str) -> None:
    """Writes a short text, for example the pointer to the newest checkpoint, in the same way."""
    atomic_write_bytes(text.encode(errors='backslashreplace'), path)  # file names may hold what is not UTF-8


def atomic_write_bytes(data: bytes, path: AnyPath) -> None:
    """Writes the bytes of a whole file in the same way."""
    atomic_write(path, lambda file: file.write(data))


def atomic_write(path: AnyPath, write: Callable[[IO[bytes]], Any]) -> None:
    """Lets ``write`` fill the file at ``path`` in the same way: for what is too long to be in memory."""
    path = osp.abspath(osp.expanduser(os.fspath(path)))
    folder, name = osp.split(path)
    temporary = osp.join(folder, f'.{name}.{socket.gethostname()}.{os.getpid()}.tmp')
    changed = [folder]
    while not osp.exists(changed[-1]):  # a folder that is made here is an entry of its parent
        changed.append(osp.dirname(changed[-1]))
    try:
        os.makedirs(folder, exist_ok=True)
        with open(temporary, 'wb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.remove(temporary)
        # torch's zip writer reports a full disk as a RuntimeError
        if isinstance(error, (OSError, RuntimeError)):
            raise CheckpointWriteError(
                f'{path} could not be written: {error} ({_bytes_free(folder)} bytes are free in '
                f'{folder}). The earlier file, if any, is untouched.'
            ) from error
        raise
    for parent in changed:
        flush_folder(parent)


def flush_folder(folder: str) -> None:
    """Makes the entries of a folder survive a loss of power, where the file system can."""
    with suppress(OSError):  # some network file systems cannot flush a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _bytes_free(folder: str) -> int:
    while folder != osp.dirname(folder) and not osp.isdir(folder):
        folder = osp.dirname(folder)
    return shutil.disk_usage(folder).free


def remove_stale_temporaries(folder: AnyPath) -> List[str]:
    """Removes temporary files of writers that were killed: on this host at once, of other hosts after a day.

    Call it while this process writes no checkpoint: after a restart in a container the dead process often had the same
    id.

    Returns:
        The removed paths.
    """
    removed = []
    for name in os.listdir(folder) if osp.isdir(folder) else []:
        match = re.fullmatch(r'\..+\.(\d+)\.tmp', name)
        path = osp.join(folder, name)
        if not match:
            continue
        pid = int(match.group(1))
        ours = name.endswith(f'.{socket.gethostname()}.{pid}.tmp')
        with suppress(OSError):  # another rank may remove it at the same time
            if (ours and (pid == os.getpid() or not _is_alive(pid))) or time.time() - osp.getmtime(path) > 86400:
                os.remove(path)
                removed.append(path)
    return removed


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only checks that the process exists
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def exported_facts(path: AnyPath) -> Dict[str, Any]:
    """The config in a file that :func:`export_encoder` wrote, of which nothing else is read; empty for other files."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'pt') as file:
            config = json.loads((file.metadata() or {}).get('mmmim_config', '{}'))
    except (OSError, ValueError, SafetensorError):
        return {}
    return config if isinstance(config, dict) else {}


def export_encoder(state_dict: Union[StateDict, nn.Module], path: AnyPath, config: Dict[str, Any]) -> None:
    """Writes the encoder alone as safetensors, under timm's names; without a mask token, which only pre-training needs.

    Args:
        state_dict: The backbone's parameters (or the backbone), or those of a whole model with the encoder under
            ``backbone.``.
        path: Ends in ``.safetensors``.
        config: The backbone's config, or another description of the file; must be JSON. It is read back as
            ``load_file(path)['meta']['config']``.
    """
    from safetensors.torch import save

    if isinstance(state_dict, nn.Module):
        state_dict = state_dict.state_dict()
    prefix = 'backbone.' if any(key.startswith('backbone.') for key in state_dict) else ''
    tensors = {}
    for key, value in state_dict.items():
        if key.startswith(prefix) and key != f'{prefix}mask_token':
            value = value.detach().float() if value.is_floating_point() else value.detach()
            tensors[key[len(prefix) :]] = value.cpu().contiguous().clone()  # safetensors refuses shared memory
    atomic_write_bytes(save(tensors, metadata=dict(format='pt', mmmim_config=json.dumps(config))), path)
