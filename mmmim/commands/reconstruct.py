"""Show what a pre-trained model reconstructs: original, masked, reconstruction, for any images.

    mmmim reconstruct CHECKPOINT [CHECKPOINT ...] IMAGE... [--out PNG] [--mask-ratio R] [--seed N]

CHECKPOINT is any file with an encoder and a decoder: of a run of ours, of the original MAE, of Hugging Face's ViTMAE.
Several (.pth, .pt, .bin, .safetensors, .ckpt) complete the same images under the same masks, the first one's, in a row
each; they have to be for images of one size, in the same patches.
IMAGE is a file, a folder, or a pattern such as 'photos/*.jpg'. Where the model predicts normalised pixels, they are
painted with the mean and variance of the original patch, which the model does not know; --visible-statistics adds a
column with those of the nearest visible patches instead.
"""

import argparse
import itertools
import sys
from typing import List, Tuple

from mmengine.device import get_device
from torch import nn

from ..apis.from_checkpoint import Source, build_pipeline, load_algorithm, read_source
from ..visualization.images import find_images, read_images
from ..visualization.reconstruction import compare_reconstructions, reconstruction_panel, short_name

CHECKPOINTS = ('.pth', '.pt', '.bin', '.safetensors', '.ckpt')  # ends of the names of further ones


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim reconstruct', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument(
        'images', nargs='+', metavar='IMAGE', help='files, folders, patterns; before them, further checkpoints'
    )
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


def _is_checkpoint(name: str) -> bool:
    return name.lower().endswith(CHECKPOINTS)


def reconstruct(args: argparse.Namespace) -> str:
    """Writes the picture; returns a sentence that says what is in it."""
    others = list(itertools.takewhile(_is_checkpoint, args.images))
    images = args.images[len(others) :]
    late = [name for name in images if _is_checkpoint(name)]
    if late:
        raise ValueError(f'{late[0]} stands behind the images: name all checkpoints first')
    if others and (args.config or args.prefix):
        raise ValueError('--config and --prefix are for one checkpoint, and there are several')
    if not images:
        raise ValueError('there are checkpoints and no images: name files, folders or patterns behind the checkpoints')
    paths, found = find_images(images, args.limit)
    source, model = load(args.checkpoint, args)
    backbone = model.backbone
    read = read_images(paths, build_pipeline(source, backbone.img_size, backbone.in_chans), args.seed)
    for path, reason in read.skipped:
        print(f'skipped {path}: {reason}', file=sys.stderr)
    masks = f'{model.masking.strategy} masking of {model.masking.mask_ratio:.0%}'
    if others:
        return compare([args.checkpoint, *others], model, read.batch, masks, args)
    panel = reconstruction_panel(
        model,
        read.batch,
        visible_statistics=args.visible_statistics,
        notes=dict(
            checkpoint=args.checkpoint,
            config=source.origin,
            seed=args.seed,
            caption=f'{type(model).__name__}, {args.checkpoint}, {masks}',
        ),
    )
    panel.save(args.out)
    return f'{args.out}: {len(panel.tiles)} of {found} images; model from {source.origin}'


def load(checkpoint: str, args: argparse.Namespace) -> Tuple[Source, nn.Module]:
    """The model of a checkpoint, with the options of the command line."""
    source = read_source(checkpoint, args.config, args.prefix)
    overrides = {} if args.mask_ratio is None else dict(mask_ratio=args.mask_ratio)
    if args.masking is not None:
        overrides.update(masking=args.masking, mask_options=None)  # options of another strategy do not apply
    if args.raw_pixels:
        overrides.update(target=dict(type='mmmim.PixelTarget', norm_pix=False))
    return source, load_algorithm(source, **overrides).to(get_device())


def compare(checkpoints: List[str], first: nn.Module, batch: dict, masks: str, args: argparse.Namespace) -> str:
    """The picture of several checkpoints, one loaded after the other; ``first`` is the model of the first."""
    short = [short_name(path) for path in checkpoints]
    names = checkpoints if len(set(short)) < len(short) else short
    models = ((name, load(path, args)[1] if i else first) for i, (name, path) in enumerate(zip(names, checkpoints)))
    panel = compare_reconstructions(
        models,
        batch,
        args.visible_statistics,
        notes=dict(checkpoints=checkpoints, seed=args.seed, caption=f'the same images under the same masks, {masks}'),
    )
    panel.save(args.out)
    return f'{args.out}: {len(panel.notes["images"])} images, {len(checkpoints)} checkpoints'


def main(argv: List[str]) -> None:

    print(reconstruct(parse_args(argv)))
