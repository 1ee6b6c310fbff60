"""Show what an encoder sees: principal components of its patch features, and the attention of its class token.

    mmmim features CHECKPOINT IMAGE... [--out PNG] [--block N] [--heads]

CHECKPOINT is a training checkpoint, an exported encoder.safetensors, or a ViT of the original MAE, timm or Hugging
Face. IMAGE is a file, a folder, or a pattern such as 'photos/*.jpg'. Colours are the first three components, fitted
over all images together (--each: over each by itself): patches of one colour have like features.
"""

import argparse
import sys
from typing import List

from mmengine.device import get_device

from ..apis.from_checkpoint import build_pipeline, load_backbone, read_source
from ..visualization.feature_maps import feature_panel
from ..visualization.images import find_images, read_images


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim features', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='files, folders, patterns')
    parser.add_argument('--config', help='of the run; default: the one inside the checkpoint, or inferred from it')
    parser.add_argument('--prefix', '--part', help='which network, where the checkpoint holds several, e.g. student')
    parser.add_argument('--out', default='features.png', help='the picture (default: %(default)s)')
    parser.add_argument('--block', type=int, default=-1, help='from 0, or from the end (default: %(default)s)')
    parser.add_argument('--each', action='store_true', help='fit the components to each image by itself')
    parser.add_argument('--heads', action='store_true', help="also each head's attention")
    parser.add_argument(
        '--img-size',
        type=int,
        metavar='PIXELS',
        help='show images to the encoder at this size: more patches, finer maps',
    )
    parser.add_argument('--limit', type=int, default=16, help='most images, from the whole list (default: %(default)s)')
    return parser.parse_args(argv)


def show(args: argparse.Namespace) -> str:
    """Writes the picture; returns a sentence that says what is in it."""

    paths, found = find_images(args.images, args.limit)
    source = read_source(args.checkpoint, args.config, args.prefix)
    backbone, preprocessor = load_backbone(source, args.img_size)
    images = read_images(paths, build_pipeline(source, backbone.img_size, backbone.in_chans))
    for path, reason in images.skipped:
        print(f'skipped {path}: {reason}', file=sys.stderr)
    fit = 'each image' if args.each else 'all images together'
    panel = feature_panel(
        backbone.to(get_device()),
        preprocessor.to(get_device()),
        images.batch,
        args.block,
        args.each,
        args.heads,
        notes=dict(
            checkpoint=args.checkpoint, config=source.origin, caption=f'{args.checkpoint}, components fitted to {fit}'
        ),
    )
    panel.save(args.out)
    return f'{args.out}: {len(panel.tiles)} of {found} images; encoder from {source.origin}'


def main(argv: List[str]) -> None:

    print(show(parse_args(argv)))
