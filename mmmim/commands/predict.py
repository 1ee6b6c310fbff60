"""Draw the predictions of a segmentor, detector, classifier or landmark estimator over images.

    mmmim predict CONFIG CHECKPOINT IMAGE... [--out predictions.png] [--score 0.5]

CONFIG is the one that trained it, or the copy of it in the work dir. IMAGE is a file, a folder, or a pattern such as
'photos/*.jpg'; the config's test pipeline prepares them. Landmarks are those of the faces whose boxes the config's test
data set has; an image that it does not name is taken as one face.
"""

import argparse
import sys
from typing import List

from mmengine.config import DictAction

from ..config.load import load_config
from ..visualization.images import find_images
from ..visualization.predictions import build_trained, prediction_panel


def parse_args(argv: List[str]) -> argparse.Namespace:
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


def main(argv: List[str]) -> None:
    print(show(parse_args(argv)))
