"""Translates a checkpoint between the names of this project and of others.

    mmmim convert IN OUT [--to mmmim|timm|mae|hf|mmpretrain|cmae] [--allow-partial] [--force]

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

from mmengine.runner.checkpoint import CheckpointLoader

from ..apis.load_encoder import encoder_config
from ..checkpoint import atomic_save, atomic_write_bytes
from ..checkpoint.encoder import add_positions
from ..checkpoint.schemes import SCHEMES, detect_scheme, from_mmmim, left_out, list_names, to_mmmim, unwrap


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim convert', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='IN', help='path or address of the checkpoint to read')
    parser.add_argument('target', metavar='OUT', help='path to write')
    parser.add_argument('--to', default='mmmim', choices=SCHEMES, help='whose names OUT has (default: mmmim)')
    parser.add_argument('--allow-partial', action='store_true', help='leave out what OUT has no place for')
    parser.add_argument('--force', action='store_true', help='overwrite OUT if it exists')
    return parser.parse_args(argv)


def convert(source: str, target: str, to: str, allow_partial: bool = False, force: bool = False) -> str:
    """Reads, translates and writes a checkpoint; returns sentences that say what was done.

    Raises:
        ValueError: ``to`` cannot represent all of the file, or the file's names are unknown.
    """
    if os.path.exists(target) and not force:
        raise FileExistsError(f'{target} exists already: choose another name, or overwrite it with --force.')
    checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu', logger='silent')
    state = unwrap(checkpoint)
    scheme = detect_scheme(state)
    ours = to_mmmim(state)
    notes = add_positions(ours, scheme)
    result, lost = from_mmmim(ours, to), left_out(ours, to)
    check_left_out(lost, to, allow_partial)
    write(result, target, to, encoder_config(checkpoint, source) if to == 'timm' else None)
    lines = [
        f'{source}: recognised as {scheme}, {len(state)} keys.',
        f'{target}: written as {to}, {len(result)} keys; left out: {list_names(lost) or "nothing"}.',
    ]
    return '\n'.join([*lines, *(f'Note: {note}.' for note in notes)])


def check_left_out(lost: list, to: str, allow_partial: bool) -> None:
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


def write(state: Dict[str, Any], target: str, scheme: str, config: Optional[Dict[str, Any]] = None) -> None:
    """Writes a translated state dict in the layout that the scheme's own code expects."""
    if target.endswith('.safetensors'):
        from safetensors.torch import save

        tensors = {key: value.contiguous().clone() for key, value in state.items()}  # safetensors refuses shared memory
        known = dict(mmmim_config=json.dumps(config)) if config else {}
        atomic_write_bytes(save(tensors, metadata=dict(format='pt', **known)), target)
    else:
        wrapper = dict(mmmim='state_dict', mmpretrain='state_dict', cmae='state_dict', mae='model').get(scheme)
        atomic_save({wrapper: state} if wrapper else state, target)


def main(argv: List[str]) -> None:
    args = parse_args(argv)
    try:
        print(convert(args.source, args.target, args.to, args.allow_partial, args.force))
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f'convert: {error}')
