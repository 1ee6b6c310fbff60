"""Judge frozen networks by labelled images: public weights, random ones, runs.

mmmim compare RUN ... [--starts random,timm:NAME,FILE] [--labels LABELS] [--layer auto]
"""

import argparse
from typing import List

from .. import apis
from ..engine.hardware import keep_freed_memory


def main(argv: List[str]) -> None:
    parser = argparse.ArgumentParser(
        prog='mmmim compare',
        description='Judge frozen networks by labelled images: logistic regression and k-NN on their features, and '
        'which differences can be shown. Writes comparison.json.',
    )
    parser.add_argument('runs', nargs='*', metavar='RUN', help='work dir of a run, or a checkpoint file')
    parser.add_argument(
        '--starts',
        metavar='A,B,...',
        help='what to compare with: random, timm:NAME, hf-hub:ORG/NAME, efficientnet-lite0, files, runs '
        '(default: random, and public weights if they can be had)',
    )
    parser.add_argument(
        '--labels', help='a csv file (file, label) or class folders (default: what the first run has stored)'
    )
    parser.add_argument('--data', metavar='FOLDER', help='where the files of the csv are (default: beside it)')
    parser.add_argument('--layer', choices=['auto'], help="auto: the best layer of each network, stored in the run's")
    parser.add_argument('--out', metavar='FOLDER', help='for comparison.json (default: the first run)')
    parser.add_argument('--device', help='such as cuda:1 (default: a GPU if there is one)')
    parser.add_argument(
        '--image-size', type=int, help='pixels for public networks (default: their own, 224 where that is above 256)'
    )
    options = vars(parser.parse_args(argv))
    keep_freed_memory()
    apis.compare(**options)
