"""From labelled images to a model in use; the task is told from the data.

mmmim finetune --data LABELLED --out FOLDER [--model RUN] [options] [key=value ...]
"""

import argparse
from typing import List

from .. import apis
from ..apis.quiet import quiet_toolboxes
from ..config.options import add_machine_options, add_training_options, check_device
from ..engine.hardware import keep_freed_memory
from .pretrain import one_or_all, overrides, parse


def build_parser() -> argparse.ArgumentParser:
    """The options, without ``key=value``."""
    parser = argparse.ArgumentParser(
        prog='mmmim finetune',
        allow_abbrev=False,  # cli.choose_device reads --device before this
        description='From labelled images to a model in use. Class folders or a csv: classification; images and masks: '
        'segmentation; a COCO json: detection. The same command goes on with what was stopped.',
        usage='%(prog)s --data LABELLED --out FOLDER [options] [key=value ...]',
        epilog="key=value overrides any other setting of the run's config: model.backbone.drop_path_rate=0.2",
    )
    parser.add_argument(
        '--data',
        required=True,
        action='append',
        metavar='FOLDER|CSV|JSON',
        help='labelled images: class folders, a csv of file and label, images and masks, a COCO json',
    )
    parser.add_argument('--out', required=True, metavar='FOLDER', help='for the model, its config, results and report')
    parser.add_argument(
        '--model',
        metavar='RUN|FILE|timm:NAME|hf-hub:NAME|SIZE',
        help='what to start from: a run of pre-training, a checkpoint, public weights, or a size with random weights, '
        'vit-tiny, vit-small, vit-base or vit-large (default: public weights)',
    )
    parser.add_argument('--labels', metavar='CSV|FOLDER', help='the labels, where they are not in --data')
    parser.add_argument(
        '--test', metavar='CSV|FOLDER', help='labelled images that are reported (default: a part drawn)'
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='frozen features alone: logistic regression of classes, a linear layer for masks',
    )
    parser.add_argument('--share', metavar='10%%', help='train with a share of the labels, a fixed draw')
    parser.add_argument('--per-class', type=int, metavar='N', help='train with N images a class, a fixed draw')
    parser.add_argument(
        '--seeds', type=int, default=1, metavar='N', help='runs with other draws and seeds (default: 1)'
    )
    parser.add_argument('--compare', metavar='START,...', help='other starts beside --model, in a table; also random')
    parser.add_argument('--balance', choices=('weights', 'sampling'), help='against classes of different size')
    parser.add_argument('--image-size', type=int, metavar='PIXELS', help="default: the start's")
    parser.add_argument('--epochs', type=int, help='of each training, in place of --hours')
    parser.add_argument('--hours', type=float, help='of each training at most')
    add_training_options(parser)
    add_machine_options(parser)
    return parser


def main(argv: List[str]) -> None:
    parser = build_parser()
    args, pairs = parse(parser, argv)
    options = dict(vars(args), data=one_or_all(args.data))
    check_device(options.pop('device'))
    options = {**overrides(parser, pairs, options), **options}
    keep_freed_memory()
    quiet_toolboxes()
    apis.finetune(**options)
