"""Show what a pre-trained model reconstructs: original, masked, reconstruction, for any images.

    mmmim reconstruct CHECKPOINT IMAGE... [--out PNG] [--mask-ratio R] [--seed N]

CHECKPOINT is any file with an encoder and a decoder: of a run of ours, of the original MAE, of Hugging Face's ViTMAE.
IMAGE is a file, a folder, or a pattern such as 'photos/*.jpg'. Where the model predicts normalised pixels, they are
painted with the mean and variance of the original patch, which the model does not know; --visible-statistics adds a
column with those of the nearest visible patches instead.
"""

import argparse
import sys
from typing import List

from mmengine.device import get_device

from ..apis.from_checkpoint import build_pipeline, load_algorithm, read_source
from ..visualization.images import find_images, read_images
from ..visualization.reconstruction import reconstruction_panel


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim reconstruct', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='files, folders, patterns')
    parser.add_argument('--config', help='of the run; default: the one inside the checkpoint, or inferred from it')
    parser.add_argument('--prefix', '--part', help='which network, where the checkpoint holds several, e.g. student')
    parser.add_argument('--out', default='reconstructions.png', help='the picture (default: %(default)s)')
    parser.add_argument('--mask-ratio', type=float, metavar='R', help='share of patches removed (default: as trained)')
    parser.add_argument('--masking', choices=['random', 'block', 'grid', 'unit'], help='(default: as trained)')
    parser.add_argument('--seed', type=int, default=0, help='of the masks (default: %(default)s)')
    parser.add_argument(
        '--visible-statistics', action='store_true', help='add a column that does not use the original patches'
    )
    parser.add_argument(
        '--raw-pixels',
        action='store_true',
        help='the decoder predicts pixels that are not normalised (where there is no config)',
    )
    parser.add_argument('--limit', type=int, default=16, help='most images, from the whole list (default: %(default)s)')
    return parser.parse_args(argv)


def reconstruct(args: argparse.Namespace) -> str:
    """Writes the picture; returns a sentence that says what is in it."""

    paths, found = find_images(args.images, args.limit)
    source = read_source(args.checkpoint, args.config, args.prefix)
    overrides = {} if args.mask_ratio is None else dict(mask_ratio=args.mask_ratio)
    if args.masking is not None:
        overrides.update(masking=args.masking, mask_options=None)  # options of another strategy do not apply
    if args.raw_pixels:
        overrides.update(target=dict(type='mmmim.PixelTarget', norm_pix=False))
    model = load_algorithm(source, **overrides).to(get_device())
    backbone = model.backbone
    images = read_images(paths, build_pipeline(source, backbone.img_size, backbone.in_chans), args.seed)
    for path, reason in images.skipped:
        print(f'skipped {path}: {reason}', file=sys.stderr)
    panel = reconstruction_panel(
        model,
        images.batch,
        visible_statistics=args.visible_statistics,
        notes=dict(
            checkpoint=args.checkpoint,
            config=source.origin,
            seed=args.seed,
            caption=f'{type(model).__name__}, {args.checkpoint}, {model.masking.strategy} masking of '
            f'{model.masking.mask_ratio:.0%}',
        ),
    )
    panel.save(args.out)
    return f'{args.out}: {len(panel.tiles)} of {found} images; model from {source.origin}'


def main(argv: List[str]) -> None:

    print(reconstruct(parse_args(argv)))
