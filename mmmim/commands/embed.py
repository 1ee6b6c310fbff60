"""Write one feature vector for each image of a folder, and the file names beside it.

mmmim embed --checkpoint CHECKPOINT --data PHOTOS [--out features.npy]
"""

import argparse
from typing import List

from .. import apis
from ..engine.hardware import keep_freed_memory


def main(argv: List[str]) -> None:
    parser = argparse.ArgumentParser(
        prog='mmmim embed',
        description='Write one feature vector for each image of a folder, and the file names '
        'beside it (features.txt for features.npy).',
    )
    parser.add_argument('--checkpoint', required=True, help='of a run, an exported encoder, or another ViT')
    parser.add_argument('--data', required=True, metavar='FOLDER', help='images, flat or in folders')
    parser.add_argument('--out', default='features.npy', help='default: features.npy')
    parser.add_argument(
        '--pool', default='mean', choices=['mean', 'cls'], help='mean of the patch tokens (default), or the class token'
    )
    parser.add_argument('--batch-size', type=int, default=128, help='images at once (default: 128)')
    parser.add_argument('--config', help='of the checkpoint, where it is not inside it')
    parser.add_argument(
        '--prefix',
        '--part',
        default=argparse.SUPPRESS,
        help='which network, where the checkpoint holds several, e.g. student',
    )
    options = vars(parser.parse_args(argv))
    keep_freed_memory()
    apis.embed(**options)
