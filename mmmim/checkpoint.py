"""Checkpoints: safe loading through MMEngine's loader, atomic writing, export of the encoder.

Reading a file safely is in :mod:`mmmim.safe_load`, other naming schemes are in :mod:`mmmim.translate`.
"""

import json
import os
import os.path as osp
import re
import shutil
import socket
import time
from contextlib import suppress
from hashlib import sha256
from typing import IO, Any, Callable, Dict, List, Mapping, Optional, Union
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import nn

from .safe_load import AnyPath, CorruptCheckpointError, MapLocation, StateDict, UnsafeCheckpointError, load_file

__all__ = [
    'CheckpointWriteError',
    'CorruptCheckpointError',
    'UnsafeCheckpointError',
    'atomic_save',
    'atomic_write_bytes',
    'atomic_write_text',
    'export_encoder',
    'install_safe_loader',
    'load_file',
    'remove_stale_temporaries',
]


class CheckpointWriteError(OSError, RuntimeError):
    """A file could not be written; the one that was there before is untouched."""


# --- reading: every loader of MMEngine's ends in load_file -----------------------------------------------------------


def install_safe_loader() -> None:
    """Makes MMEngine read every checkpoint through :func:`mmmim.safe_load.load_file`.

    ``Runner.resume``, ``load_from``, ``init_cfg=dict(type='Pretrained')`` and MMEngine's functions all go through
    ``CheckpointLoader``. ``torch.load`` in other code stays as it is.
    """
    register = mmengine_checkpoint.CheckpointLoader.register_scheme
    register('', load_from_local, force=True)
    register(['http://', 'https://'], load_from_http, force=True)
    register(['modelzoo://', 'torchvision://'], load_from_torchvision, force=True)
    register(['open-mmlab://', 'openmmlab://'], load_from_openmmlab, force=True)
    register('mmcls://', load_from_mmcls, force=True)
    register(['pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], load_from_store, force=True)


def load_from_local(filename: str, map_location: MapLocation = None) -> Any:
    """Reads a local file."""
    return load_file(filename, map_location)


def load_from_http(filename: str, map_location: MapLocation = None) -> Any:
    """Downloads a file into torch hub's folder, once, and reads it."""
    return load_file(_download(filename), map_location)


def load_from_torchvision(filename: str, map_location: MapLocation = None) -> Any:
    """Reads ``torchvision://NAME`` by MMEngine's table of addresses."""
    return load_from_http(_look_up(filename, mmengine_checkpoint.get_torchvision_models()), map_location)


def load_from_openmmlab(filename: str, map_location: MapLocation = None) -> Any:
    """Reads ``open-mmlab://NAME`` by MMEngine's table: an address, or a path under MMEngine's home folder."""
    renamed = mmengine_checkpoint.get_deprecated_model_names()
    place = _look_up(filename, mmengine_checkpoint.get_external_models(), renamed)
    if place.startswith(('http://', 'https://')):
        return load_from_http(place, map_location)
    return load_file(osp.join(mmengine_checkpoint._get_mmengine_home(), place), map_location)


def load_from_mmcls(filename: str, map_location: MapLocation = None) -> Any:
    """Reads ``mmcls://NAME`` by MMEngine's table and keeps the backbone, without its prefix, as MMEngine does."""
    checkpoint = load_from_http(_look_up(filename, mmengine_checkpoint.get_mmcls_models()), map_location)
    return mmengine_checkpoint._process_mmcls_checkpoint(checkpoint)


def load_from_store(filename: str, map_location: MapLocation = None) -> Any:
    """Refuses object stores: their clients read files by other ways than ours."""
    raise ValueError(
        f'{filename}: checkpoints in an object store are not read directly. Download the file and give its path.'
    )


def _look_up(filename: str, table: Mapping[str, str], renamed: Optional[Mapping[str, str]] = None) -> str:
    name = filename.split('://', 1)[1]
    name = renamed[name] if renamed and name in renamed else name
    if name not in table:
        raise ValueError(f'{filename}: MMEngine knows no model of this name. Give the path or the address of the file.')
    return table[name]


def _download(url: str) -> str:
    """Returns the path of the downloaded file. Rank 0 downloads first, the others only what is still missing."""
    name = osp.basename(urlparse(url).path) or 'checkpoint'
    digest = re.search(r'-(?!20\d{6}\.)([a-f0-9]{8,})\.', name)  # torch hub's convention name-HASH.pth, not a date
    # Names without a hash (pytorch_model.bin) are shared by many addresses: each address gets its own folder.
    place = '' if digest else sha256(url.encode()).hexdigest()[:10]
    path = osp.join(torch.hub.get_dir(), 'checkpoints', place, name)
    rank, _ = get_dist_info()
    try:
        if rank == 0:
            _fetch(url, path, digest and digest.group(1))
    finally:
        barrier()  # also after a failure: the other ranks must not wait for ever
    if rank > 0:
        _fetch(url, path, digest and digest.group(1))
    return path


def _fetch(url: str, path: str, digest: Optional[str]) -> None:
    if osp.isfile(path):
        return
    os.makedirs(osp.dirname(path), exist_ok=True)
    print_log(f'Download {url} to {path}', logger='current')
    try:  # writes to a temporary name, compares the hash, then renames
        torch.hub.download_url_to_file(url, path, digest, progress=os.isatty(2))
    except OSError as error:
        raise ConnectionError(
            f'{url} could not be downloaded to {path}: {error}. Download it by other means and give its path.'
        ) from error
    except RuntimeError as error:
        raise CorruptCheckpointError(f'{url} is not the file that its name promises: {error}.') from error


# --- writing is atomic: a path always holds a whole file, the old one or the new one ---------------------------------


def atomic_save(checkpoint: Any, path: AnyPath) -> None:
    """Writes ``checkpoint`` with ``torch.save`` so that ``path`` never holds a partial file (atomically).

    Raises:
        CheckpointWriteError: The disk is full or not writable; an earlier file at ``path`` is untouched.
    """
    _write_and_rename(path, lambda file: torch.save(checkpoint, file))


def atomic_write_text(path: AnyPath, text: str) -> None:
    """Writes a short text, for example the pointer to the newest checkpoint, in the same way."""
    atomic_write_bytes(text.encode(), path)


def atomic_write_bytes(data: bytes, path: AnyPath) -> None:
    """Writes the bytes of a whole file in the same way."""
    _write_and_rename(path, lambda file: file.write(data))


def _write_and_rename(path: AnyPath, write: Callable[[IO[bytes]], Any]) -> None:
    path = osp.abspath(osp.expanduser(os.fspath(path)))
    folder, name = osp.split(path)
    temporary = osp.join(folder, f'.{name}.{socket.gethostname()}.{os.getpid()}.tmp')
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


def export_encoder(state_dict: Union[StateDict, nn.Module], path: AnyPath, config: Dict[str, Any]) -> None:
    """Writes the encoder alone as safetensors, under timm's names.

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
        if key.startswith(prefix):
            value = value.detach().float() if value.is_floating_point() else value.detach()
            tensors[key[len(prefix) :]] = value.cpu().contiguous().clone()  # safetensors refuses shared memory
    atomic_write_bytes(save(tensors, metadata=dict(format='pt', mmmim_config=json.dumps(config))), path)
