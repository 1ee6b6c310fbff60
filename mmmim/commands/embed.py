"""Write one feature vector for each image of a folder, and the file names beside it.

mmmim embed --model RUN | FILE | timm:NAME | hf-hub:ORG/NAME --data PHOTOS [--out features.npy]
"""

import argparse
from typing import List, Union

from .. import apis
from ..config.options import add_device, check_device
from ..engine.hardware import keep_freed_memory
from ..models.networks import FORMS
from .pretrain import DATA, DATA_HELP, one_or_all


def main(argv: List[str]) -> None:
    parser = argparse.ArgumentParser(
        prog='mmmim embed',
        allow_abbrev=False,  # cli.choose_device reads --device before this
        description='Write one feature vector for each image of a folder, and the file names '
        'beside it (features.txt for features.npy).',
    )
    parser.add_argument(
        '--model', '--checkpoint', required=True, help=f'{FORMS}; --checkpoint is its former name'.replace('%', '%%')
    )
    parser.add_argument('--data', required=True, action='append', metavar=DATA, help=DATA_HELP)
    parser.add_argument('--out', default='features.npy', help='default: features.npy')
    parser.add_argument(
        '--pool',
        choices=['mean', 'cls', 'cls_mean'],
        help='mean of the patch tokens, the first class token, or the mean of several class tokens (default: public '
        "networks' own pooling, else the mean)",
    )
    parser.add_argument(
        '--layer',
        type=layer_number,
        metavar='N',
        help="block or stage, from 1 (-1: the last), or 'auto': the one that the run has stored (default: the output; "
        "of a run's folder 'auto')",
    )
    parser.add_argument('--image-size', type=int, metavar='PIXELS', help="default: the network's own")
    parser.add_argument('--batch-size', type=int, default=128, help='images at once (default: 128)')
    parser.add_argument('--config', help='of the checkpoint, where it is not inside it')
    parser.add_argument(
        '--prefix',
        '--part',
        default=argparse.SUPPRESS,
        help='which network, where the checkpoint holds several, e.g. student',
    )
    add_device(parser)
    options = vars(parser.parse_args(argv))
    check_device(options.pop('device'))
    options['data'] = one_or_all(options['data'])
    keep_freed_memory()
    apis.embed(**options)


def layer_number(text: str) -> Union[int, str]:
    return text if text == 'auto' else int(text)
