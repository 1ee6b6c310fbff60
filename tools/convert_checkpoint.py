"""Translates a checkpoint between naming schemes.

    python tools/convert_checkpoint.py IN OUT [--to mmmim|mae|timm|hf_vit_mae|safetensors] [--force]

The scheme of IN is detected. OUT is written with ``torch.save``, or as safetensors when its name ends in
``.safetensors``. ``--to safetensors`` exports the encoder alone. Examples:

    python tools/convert_checkpoint.py mae_pretrain_vit_base_full.pth mae.pth              # original MAE -> ours
    python tools/convert_checkpoint.py work_dirs/mae/iter_1000.pth model.safetensors --to hf_vit_mae
"""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a checkout that is not installed

from mmengine.runner.checkpoint import CheckpointLoader  # noqa: E402

import mmmim  # noqa: E402, F401  (replaces MMEngine's loader by the safe one)
from mmmim.checkpoint import atomic_save, atomic_write_bytes, export_encoder  # noqa: E402
from mmmim.naming import SCHEMES, detect_scheme, first_names, from_mmmim, to_mmmim, unwrap  # noqa: E402
from mmmim.translate import encoder_state_dict  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='IN', help='path or address of the checkpoint to read')
    parser.add_argument('target', metavar='OUT', help='path to write')
    parser.add_argument('--to', default='mmmim', choices=[*SCHEMES, 'safetensors'], help='naming scheme of OUT')
    parser.add_argument('--force', action='store_true', help='overwrite OUT if it exists')
    return parser.parse_args()


def convert(source: str, target: str, to: str, force: bool = False) -> str:
    """Reads, translates, writes; returns a sentence that says what was done."""
    if os.path.exists(target) and not force:
        raise FileExistsError(f'{target} exists already: choose another name, or overwrite it with --force.')
    if to == 'safetensors' and not target.endswith('.safetensors'):
        raise ValueError(f'--to safetensors writes a .safetensors file, but OUT is {target}.')
    checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu', logger='silent')
    state = unwrap(checkpoint)
    if to == 'safetensors':
        result = encoder_state_dict(checkpoint)
        meta = checkpoint.get('meta')
        config = meta.get('config') if isinstance(meta, dict) else None
        export_encoder(result, target, config if isinstance(config, dict) else {})
        note = 'the encoder alone'
    else:
        ours = to_mmmim(state)
        result = from_mmmim(ours, to)
        left_out = set(ours) - set(to_mmmim(result))
        write(result, target, to)
        note = f'left out: {first_names(left_out)}' if left_out else 'nothing left out'
    renamed = sum(key not in result for key in state)
    return (f'{source}: scheme {detect_scheme(state) or "unknown"}, {len(state)} keys, {renamed} renamed or left out.\n'
            f'{target}: scheme {to}, {len(result)} keys ({note}).')


def write(state: dict, target: str, scheme: str):
    """Writes a translated state dict the way that the scheme's own code expects to find it."""
    if target.endswith('.safetensors'):
        from safetensors.torch import save
        tensors = {key: value.contiguous().clone() for key, value in state.items()}  # it refuses shared memory
        atomic_write_bytes(save(tensors, metadata=dict(format='pt')), target)
    else:
        wrapper = dict(mmmim='state_dict', mae='model').get(scheme)
        atomic_save({wrapper: state} if wrapper else state, target)


def main() -> int:
    args = parse_args()
    try:
        print(convert(args.source, args.target, args.to, args.force))
    except (OSError, RuntimeError, ValueError) as error:
        print(f'convert_checkpoint: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
