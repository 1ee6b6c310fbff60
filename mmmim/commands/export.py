"""Write a model to a file that other programs run, and compare it with the model.

    mmmim export --model RUN --out model.onnx [--format onnx|torch|timm|hf|mae|mmmim|mmpretrain|cmae|convmae]

RUN is a folder that was fine-tuned: a classifier gives probabilities, a segmentor a mask and probabilities. Of a
pre-training run, a checkpoint file or public weights (timm:NAME, hf-hub:ORG/NAME) the pooled features are exported.
Pixels of 0..255 go in, in batches of any size; they are normalised inside. Beside model.onnx are written model.json
(input, preprocessing, outputs, classes, licence, versions) and model_example.py, a dozen lines with onnxruntime, NumPy
and Pillow alone. docs/export.md says more. Detectors are not exported.
"""

import argparse
from typing import List

from .. import apis
from ..apis.export import DTYPES
from ..apis.exporting.files import PACKAGES
from ..apis.quiet import quiet_toolboxes
from ..checkpoint.schemes import writable
from ..models.networks import FORMS
from .embed import layer_number
from .pretrain import DATA, one_or_all


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim export', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', required=True, help=f'a folder that was fine-tuned, {FORMS}'.replace('%', '%%'))
    parser.add_argument('--out', required=True, help='the file; its folder is made')
    parser.add_argument(
        '--format', choices=[*PACKAGES, *writable()], help='default: by the ending of --out, .onnx or .pt2'
    )
    parser.add_argument(
        '--image-size', type=int, nargs='+', metavar='PIXELS', help='one number, or height and width; default: its own'
    )
    parser.add_argument('--layer', type=layer_number, metavar='N', help="of an encoder, from 1, or 'auto'")
    parser.add_argument('--pool', choices=['mean', 'cls', 'cls_mean'], help='of an encoder: as `mmmim embed`')
    parser.add_argument('--config', help='of a checkpoint, where it is neither beside it nor inside')
    parser.add_argument('--prefix', '--part', help='which network, where a file holds several, e.g. student')
    parser.add_argument(
        '--data',
        action='append',
        metavar=DATA,
        help="images to compare with; default: the model's own, else drawn ones",
    )
    parser.add_argument('--dtype', default='uint8', choices=list(DTYPES), help='of the input (default: uint8)')
    parser.add_argument('--force', action='store_true', help='overwrite what something else has written')
    args = parser.parse_args(argv)
    if args.image_size is not None and len(args.image_size) > 2:
        parser.error('--image-size takes one number, or height and width')
    return args


def main(argv: List[str]) -> None:
    options = vars(parse_args(argv))
    quiet_toolboxes()
    size, data = options.pop('image_size'), options.pop('data')
    image_size = None if size is None else size[0] if len(size) == 1 else tuple(size)
    done = apis.export(**options, image_size=image_size, data=None if data is None else one_or_all(data))
    for note in done.notes:
        print(note)
    if done.difference is not None:
        print(f'{done.path}: compared with torch on {done.images}, {done.batch} at once: {done.difference:.1g} apart')
        for path in filter(None, (done.preprocessing, done.example)):
            print(path)
