"""Translates a checkpoint between the names of this project and of others.

    mmmim convert IN OUT [--to mmmim|timm|mae|hf|mmpretrain|cmae|convmae] [--prefix P] [--allow-partial] [--force]

IN is a path or an address; its kind is recognised by its names: this project's, timm's ViT (BEiT's and Swin's, too),
the original MAE (pre-trained, fine-tuned), the authors' CMAE, Hugging Face's ViTMAE, ViT, DINOv2, I-JEPA and Pixio,
mmpretrain's MAE, VisionTransformer, BEiT and SimMIM, the authors' DINO, DINOv2, MoCo v3, I-JEPA, SimMIM, ConvMAE and
Pixio. OUT is written as safetensors when its name ends in ``.safetensors``, else with ``torch.save``, and never stands
there half-written. With --to timm an OUT without an ending is a folder, with the config.json that timm needs.

    mmmim        a whole model, for load_from or init_cfg
    timm         the encoder and its classifier. Of a file: timm.create_model(NAME, checkpoint_path=OUT); of a folder
                 of any encoder: timm.create_model('local-dir:OUT', pretrained=True)
    mae          the original code's names, and Pixio's; mae, hf and mmpretrain have a decoder where IN has MAE's
    hf           ViTMAEForPreTraining, ViTForImageClassification or ViTModel
    mmpretrain   MAE, SimMIM's Swin, or a backbone under `backbone.` with its classifier
    cmae         the authors' code
    convmae      the authors' code; of ConvMAE's hybrid ViT alone

Parameters that the target has no place for are listed, and nothing is written unless --allow-partial is given. timm has
only encoders: parameters of pre-training are left out there without that option. Examples:

    mmmim convert mae_pretrain_vit_base_full.pth mae.pth               # original MAE -> ours
    mmmim convert work_dirs/mae/vit-b_800e/epoch_800.pth mae.safetensors --to hf
    mmmim convert work_dirs/mae/vit-b_800e/epoch_800.pth vit --to timm  # a folder, for local-dir: and for the Hub
"""

import argparse
import sys
from typing import List

from ..apis.convert import convert
from ..checkpoint.schemes import writable


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim convert', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='IN', help='path or address of the checkpoint to read')
    parser.add_argument('target', metavar='OUT', help='path to write')
    parser.add_argument('--to', default='mmmim', choices=writable(), help='whose names OUT has (default: mmmim)')
    parser.add_argument('--prefix', '--part', help='which network, where IN holds several, e.g. student')
    parser.add_argument('--num-heads', type=int, help='of attention, for a folder of timm; where IN does not tell it')
    parser.add_argument('--allow-partial', action='store_true', help='leave out what OUT has no place for')
    parser.add_argument('--force', action='store_true', help='overwrite OUT if it exists')
    return parser.parse_args(argv)


def main(argv: List[str]) -> None:
    args = parse_args(argv)
    try:
        print(convert(args.source, args.target, args.to, args.allow_partial, args.force, args.prefix, args.num_heads))
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f'convert: {error}')
