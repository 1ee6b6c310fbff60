"""Translates a checkpoint between the names of this project and of others."""

import json
import os
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, Optional, Tuple

from ..checkpoint.encoder import EncoderFile, EncoderMismatchError, add_positions, open_encoder
from ..checkpoint.read import StateDict
from ..checkpoint.schemes import get_scheme, list_names, translate
from ..checkpoint.schemes.names import BESIDE, is_ours
from ..checkpoint.timm_config import check_timm, unfit
from ..checkpoint.write import atomic_save, atomic_write_bytes, atomic_write_text
from ..engine.hooks.checkpoint import origin, test_pipeline
from ..models.load_encoder import timm_module

FILE_ENDINGS = ('.pth', '.pt', '.bin', '.safetensors', '.ckpt', '.tar')


def convert(
    source: str,
    target: str,
    to: str,
    allow_partial: bool = False,
    force: bool = False,
    prefix: Optional[str] = None,
    num_heads: Optional[int] = None,
) -> str:
    """Reads, translates and writes a checkpoint; returns sentences that say what was done.

    Raises:
        ValueError: ``to`` cannot represent all of the file, or names in it are not understood.
    """
    if os.path.exists(target) and not force:
        raise FileExistsError(f'{target} exists already: choose another name, or overwrite it with --force.')
    as_folder = to == 'timm' and not target.lower().endswith(FILE_ENDINGS)
    if as_folder:
        check_folder(target)
    file = open_encoder(source, prefix)
    found = len(file.encoder) + len(file.others)
    strange = check_understood(file, allow_partial)
    strange += [name for name in file.apart if not is_ours(name) and name not in strange]
    file.check(allow_unused=True)  # what is beside the encoder was looked at
    ours = {name: value for name, value in file.whole().items() if name not in strange}
    notes = [*file.notes, *(f'{note}.' for note in add_positions(ours, file.scheme.name, file.grid))]
    result, lost = translate(ours, to)
    check_left_out(lost, to, allow_partial)
    if as_folder:
        result, config, more = describe(file, result, lost, num_heads, allow_partial)
        notes += [note for note in more if note not in notes]
        write_folder(result, target, config, stored_config(file))
    else:
        write(result, target, to, stored_config(file) if to == 'timm' else None)
    lost = [*strange, *lost]
    lines = [
        f'{source}: recognised as {file.scheme.name}, {found} keys.',
        f'{target}: written as {to}, {len(result)} keys; left out: {list_names(lost) or "nothing"}.',
    ]
    return '\n'.join([*lines, *(f'Note: {note}' for note in notes)])


def check_understood(file: EncoderFile, allow_partial: bool) -> List[str]:
    """Names that no table of the file's scheme knows.

    Raises:
        EncoderMismatchError: There are some, and they may not be left out.
    """
    parts = tuple(f'{key}.' for key in file.model)
    ours = file.scheme.name == 'mmmim'
    strange = [
        name
        for name in file.others
        if not is_ours(name)
        and not ((ours or name in file.apart) and BESIDE.match(name))
        and not (ours and name.startswith(parts))
    ]
    if strange and not allow_partial:
        raise EncoderMismatchError(
            f'{file.path}: {len(strange)} names were not understood: {list_names(strange, 12)}. Nothing was written; '
            '--allow-partial leaves them out.'
        )
    return strange


def stored_config(file: EncoderFile) -> Optional[Dict[str, Any]]:
    """What an exported encoder says of itself, as far as the file states it: ``backbone`` (its config), ``mean`` and
    ``std`` (0-255), how images are read, which layer is best, what it started and learned from, with licences."""
    if not file.config:
        return None
    preprocessor = file.model.get('data_preprocessor') or file.config.get('data_preprocessor') or {}
    statistics = {key: preprocessor[key] for key in ('mean', 'std') if preprocessor.get(key) is not None}
    layer = {'layer': file.config['layer']} if 'layer' in file.config else {}
    pipeline = test_pipeline(file.config)
    facts = dict(backbone=file.model['backbone'], **statistics, **layer, **origin(file.config))
    return dict(facts, pipeline=pipeline) if pipeline else facts


def check_left_out(lost: List[str], to: str, allow_partial: bool) -> None:
    """Raises ValueError when other parameters are lost than the target is expected to lack."""
    if to == 'timm':  # conversion to timm keeps the encoder only
        lost = [
            key
            for key in lost
            if key.startswith('backbone.') and key != 'backbone.mask_token' or key.startswith(('fc_norm.', 'pooler.'))
        ]
    if lost and not allow_partial:
        raise ValueError(
            f'{to} has no place for {len(lost)} parameters of this checkpoint: {list_names(lost)}. '
            'Nothing was written; --allow-partial leaves them out.'
        )


def check_folder(target: str) -> None:
    """Raises FileExistsError where timm would not read what is written to this folder."""
    if os.path.isfile(target):
        raise FileExistsError(f'{target} is a file: a name without an ending is that of a folder for timm.')
    reason = unfit(target, 'model.safetensors') if os.path.isdir(target) else ''
    if reason:
        raise FileExistsError(f'{reason}: choose another folder.')


def describe(
    file: EncoderFile, state: StateDict, lost: List[str], num_heads: Optional[int], allow_partial: bool
) -> Tuple[StateDict, Dict[str, Any], List[str]]:
    """The state dict of the module that timm builds, ``config.json``, and notes.

    Raises:
        ValueError: The module computes something else: it has no place for all parameters.
    """
    head = {name: value for name, value in state.items() if name.startswith('head.')}
    neck = file.model.get('neck')
    if head and isinstance(neck, dict) and neck.get('pool') == 'cls_mean':
        raise EncoderMismatchError(
            f"{file.path}: its classifier reads the mean of the class tokens (pool='cls_mean'), which no ViT of timm "
            'computes. Nothing was written.'
        )
    pool = {'cls': 'token', 'mean': 'avg'}.get(neck.get('pool')) if isinstance(neck, dict) else None
    if pool is None:  # timm's own ViTs, and others': a class token is classified unless a norm follows the pooling
        pool = 'token' if head and 'cls_token' in state and 'fc_norm.weight' not in state else 'avg'
    model, config, notes = timm_module(file, num_heads=num_heads, pool=pool, classifier=head)
    result = model.state_dict()
    try:
        check_timm(config, result)
    except EncoderMismatchError as error:
        raise EncoderMismatchError(f'{file.path}: timm has no such encoder: {error}. Nothing was written.') from None
    # a batch norm of linear probing stands before the classifier
    missing = [name for name in state if name not in result] + [n for n in lost if head and n.startswith('neck.norm.')]
    if missing and not allow_partial:
        raise ValueError(
            f'{config["architecture"]} of timm has no place for {list_names(missing)}. Nothing was written; '
            '--allow-partial leaves them out.'
        )
    return result, config, notes


def write_folder(
    state: StateDict, target: str, config: Dict[str, Any], stored: Optional[Dict[str, Any]] = None
) -> None:
    """Writes ``model.safetensors`` and ``config.json``, both or neither."""
    parent = os.path.dirname(os.path.abspath(target))
    os.makedirs(parent, exist_ok=True)
    with TemporaryDirectory(dir=parent, prefix='.mmmim_') as scratch:
        new = os.path.join(scratch, 'new')
        write(state, os.path.join(new, 'model.safetensors'), 'timm', stored)
        atomic_write_text(os.path.join(new, 'config.json'), json.dumps(config, indent=2))
        if os.path.isdir(target):
            for name in os.listdir(new):
                os.replace(os.path.join(new, name), os.path.join(target, name))
        else:
            os.rename(new, target)


def write(state: StateDict, target: str, scheme: str, config: Optional[Dict[str, Any]] = None) -> None:
    """Writes a translated state dict in the layout that the scheme's own code expects."""
    if target.endswith('.safetensors'):
        from safetensors.torch import save

        tensors = {key: value.contiguous().clone() for key, value in state.items()}  # safetensors refuses shared memory
        known = dict(mmmim_config=json.dumps(config)) if config else {}
        atomic_write_bytes(save(tensors, metadata=dict(format='pt', **known)), target)
    else:
        wrapper = get_scheme(scheme).wrapper
        atomic_save({wrapper: state} if wrapper else state, target)
