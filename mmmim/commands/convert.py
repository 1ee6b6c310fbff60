"""Translates a checkpoint between the names of this project and of others.

    mmmim convert IN OUT [--to mmmim|timm|mae|hf|mmpretrain|cmae] [--prefix P] [--allow-partial] [--force]

IN is a path or an address; its kind is recognised by its names: this project's, timm's ViT (BEiT's and Swin's, too),
the original MAE (pre-trained, fine-tuned), the authors' CMAE, Hugging Face's ViTMAE and ViT, mmpretrain's MAE,
VisionTransformer, BEiT and SimMIM, the authors' SimMIM. OUT is written as safetensors when its name ends in
``.safetensors``, else with ``torch.save``, and never stands there half-written.

    mmmim        a whole model, for load_from or init_cfg
    timm         the encoder and its classifier: timm.create_model(..., checkpoint_path=OUT)
    mae          the original code's names; mae, hf and mmpretrain have a decoder where IN has MAE's
    hf           ViTMAEForPreTraining, ViTForImageClassification or ViTModel
    mmpretrain   MAE, SimMIM's Swin, or a backbone under `backbone.` with its classifier
    cmae         the authors' code

Parameters that the target has no place for are listed, and nothing is written unless --allow-partial is given. timm has
only encoders: parameters of pre-training are left out there without that option. Examples:

    mmmim convert mae_pretrain_vit_base_full.pth mae.pth               # original MAE -> ours
    mmmim convert work_dirs/mae/vit-b_800e/epoch_800.pth mae.safetensors --to hf
"""

import argparse
import json
import os
import sys
from typing import Any, Dict, List, Optional

from ..checkpoint.encoder import EncoderFile, EncoderMismatchError, add_positions, open_encoder
from ..checkpoint.read import StateDict
from ..checkpoint.schemes import get_scheme, list_names, translate, writable
from ..checkpoint.schemes.names import is_ours
from ..checkpoint.write import atomic_save, atomic_write_bytes


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim convert', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='IN', help='path or address of the checkpoint to read')
    parser.add_argument('target', metavar='OUT', help='path to write')
    parser.add_argument('--to', default='mmmim', choices=writable(), help='whose names OUT has (default: mmmim)')
    parser.add_argument('--prefix', '--part', help='which network, where IN holds several, e.g. student')
    parser.add_argument('--allow-partial', action='store_true', help='leave out what OUT has no place for')
    parser.add_argument('--force', action='store_true', help='overwrite OUT if it exists')
    return parser.parse_args(argv)


def convert(
    source: str, target: str, to: str, allow_partial: bool = False, force: bool = False, prefix: Optional[str] = None
) -> str:
    """Reads, translates and writes a checkpoint; returns sentences that say what was done.

    Raises:
        ValueError: ``to`` cannot represent all of the file, or names in it are not understood.
    """
    if os.path.exists(target) and not force:
        raise FileExistsError(f'{target} exists already: choose another name, or overwrite it with --force.')
    file = open_encoder(source, prefix)
    found = len(file.encoder) + len(file.others)
    strange = check_understood(file, allow_partial)
    file.check(allow_unused=True)  # what is beside the encoder was looked at
    ours = {name: value for name, value in file.whole().items() if name not in strange}
    notes = [*file.notes, *(f'{note}.' for note in add_positions(ours, file.scheme.name))]
    result, lost = translate(ours, to)
    check_left_out(lost, to, allow_partial)
    write(result, target, to, timm_config(file) if to == 'timm' else None)
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
    if file.scheme.name == 'mmmim' or file.asked_for:
        return []
    strange = [name for name in file.others if not is_ours(name)]
    if strange and not allow_partial:
        raise EncoderMismatchError(
            f'{file.path}: {len(strange)} names were not understood: {list_names(strange[:12])}. Nothing was written; '
            '--allow-partial leaves them out.'
        )
    return strange


def timm_config(file: EncoderFile) -> Optional[Dict[str, Any]]:
    """``backbone`` (its config), ``mean`` and ``std`` (0-255), as far as the file states them; else None."""
    if not file.config:
        return None
    preprocessor = file.model.get('data_preprocessor') or file.config.get('data_preprocessor') or {}
    statistics = {key: preprocessor[key] for key in ('mean', 'std') if preprocessor.get(key) is not None}
    return dict(backbone=file.model['backbone'], **statistics)


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


def main(argv: List[str]) -> None:
    args = parse_args(argv)
    try:
        print(convert(args.source, args.target, args.to, args.allow_partial, args.force, args.prefix))
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f'convert: {error}')
