"""Predict images with a model that was trained for a task.

    mmmim predict --model RUN | FILE --data PHOTOS --out FOLDER [--labels LABELS] [--min-confidence 0.95]
    mmmim predict CONFIG CHECKPOINT IMAGE ... [--out predictions.png]

The first form writes a table of any number of images, masks or boxes, and a page; the same call goes on where it was
stopped. The second one draws a few predictions into one picture. CONFIG is the one that trained the model, or the copy
of it in the work dir. IMAGE is a file, a folder, or a pattern such as 'photos/*.jpg'; the config's test pipeline
prepares them. Landmarks are those of the faces whose boxes the config's test data set has; an image that it does not
name is taken as one face.
"""

import argparse
import sys
from typing import List

from mmengine.config import DictAction

from .. import apis
from ..apis.predict import Predictions
from ..apis.quiet import quiet_toolboxes
from ..config.load import load_config
from ..config.options import add_device, check_device
from ..engine.hardware import keep_freed_memory
from ..visualization.images import find_images
from ..visualization.predictions import build_trained, prediction_panel
from .pretrain import DATA, DATA_HELP, one_or_all


def parse_args(argv: List[str]) -> argparse.Namespace:
    """Of the form that draws."""
    parser = argparse.ArgumentParser(
        prog='mmmim predict', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path of the trained checkpoint')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='files, folders, patterns')
    parser.add_argument('--out', default='predictions.png', help='the picture (default: %(default)s)')
    parser.add_argument('--score', type=float, default=0.5, help='least score of an instance (default: %(default)s)')
    parser.add_argument('--limit', type=int, default=16, help='most images, from the whole list (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    return parser.parse_args(argv)


def parse_model(argv: List[str]) -> argparse.Namespace:
    """Of the form that writes a folder."""
    parser = argparse.ArgumentParser(
        prog='mmmim predict',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # cli.choose_device reads --device before this
    )
    parser.add_argument('--model', required=True, metavar='RUN|FILE', help='folder of a run of a task, or a checkpoint')
    parser.add_argument('--data', required=True, action='append', metavar=DATA, help=DATA_HELP)
    parser.add_argument('--out', required=True, metavar='FOLDER', help='where the predictions go')
    parser.add_argument('--config', help='of a checkpoint file that has none beside it')
    parser.add_argument(
        '--labels',
        help='to measure by: a csv file (file, label) or class folders; a folder of index masks; a COCO json',
    )
    parser.add_argument(
        '--min-confidence',
        type=float,
        default=0.0,
        metavar='P',
        help='images of less confidence get no row in predictions.csv (default: all get one)',
    )
    parser.add_argument(
        '--with-held-out',
        action='store_true',
        dest='held_out',
        help="also rows for images that the model's split holds out for selection or report: not to be trained on",
    )
    parser.add_argument(
        '--threshold',
        type=float,
        default=0.5,
        metavar='P',
        help='least probability of a class of several, least score of an object (default: %(default)s)',
    )
    parser.add_argument('--tile', type=int, metavar='PIXELS', help='segment large images by squares of this side')
    parser.add_argument('--overlap', type=int, metavar='PIXELS', help='of two tiles (default: a quarter of one)')
    parser.add_argument(
        '--no-overlays', action='store_false', dest='overlays', help='no pictures of masks and objects over the images'
    )
    parser.add_argument('--batch-size', type=int, metavar='IMAGES', help='at once (default: by the task)')
    parser.add_argument('--workers', type=int, metavar='N', dest='num_workers', help='processes that read images')
    add_device(parser)
    return parser.parse_args(argv)


def show(args: argparse.Namespace) -> str:
    """Writes the picture; returns a sentence that says what is in it."""
    paths, found = find_images(args.images, args.limit)
    cfg = load_config(args.config, args.cfg_options)
    panel, skipped = prediction_panel(
        cfg,
        build_trained(cfg, args.checkpoint),
        paths,
        args.score,
        dict(caption=f'{args.checkpoint}', config=args.config),
    )
    for path, reason in skipped:
        print(f'skipped {path}: {reason}', file=sys.stderr)
    panel.save(args.out)
    return f'{args.out}: {len(panel.tiles)} of {found} images'


def in_words(found: Predictions) -> str:
    """What was written, in lines."""
    lines = [f'{found.images} images predicted, {found.rows} rows in {found.table}', *found.notes]
    if found.measures is not None:
        values = ', '.join(f'{name} {value:.2f}%' for name, value in found.measures.values.items())
        lines += [f'{values} ({found.measures.images} images)', *found.measures.notes]
    return '\n'.join([*lines, f'page: {found.page}'])


def main(argv: List[str]) -> None:
    if argv and not {word.split('=')[0] for word in argv} & {'--model', '--data', '-h', '--help'}:
        print(show(parse_args(argv)))
        return
    options = vars(parse_model(argv))
    check_device(options.pop('device'))
    options['data'] = one_or_all(options['data'])
    keep_freed_memory()
    quiet_toolboxes()
    print(in_words(apis.predict(**options)))
