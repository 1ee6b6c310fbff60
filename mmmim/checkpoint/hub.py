"""Where MMEngine's loader finds a checkpoint: files, addresses, its tables of names; all end in :func:`.load_file`."""

import os
import os.path as osp
import re
from hashlib import sha256
from typing import Any, Mapping, Optional
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log
from mmengine.runner import checkpoint as mmengine_checkpoint

from .read import CorruptCheckpointError, MapLocation, load_file


def install_safe_loader() -> None:
    """Makes MMEngine read every checkpoint through :func:`mmmim.checkpoint.read.load_file`.

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
