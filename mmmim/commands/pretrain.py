"""Pre-train on a folder of images; labels are not needed.

mmmim pretrain --data FOLDER --out FOLDER [options] [key=value ...]
"""

import argparse
from typing import Any, Dict, List, Tuple, Union

from mmengine.config import DictAction

from .. import apis
from ..config.options import add_machine_options, add_training_options, check_device
from ..engine.hardware import keep_freed_memory

DATA = 'FOLDER|LIST|TAR'
DATA_HELP = (
    'images: a folder, flat or with folders; a list (.txt), a table (.csv) with a column of files, or tars '
    "(photos.tar, 'data-{000..009}.tar'), read in place. Again for more of them"
)


def build_parser() -> argparse.ArgumentParser:
    """The options, without ``key=value``."""
    parser = argparse.ArgumentParser(
        prog='mmmim pretrain',
        allow_abbrev=False,  # cli.choose_device reads --device before this
        description='Pre-train on a folder of images; labels are not needed. The same command '
        'continues a run that was stopped.',
        usage='%(prog)s --data FOLDER --out FOLDER [options] [key=value ...]',
        epilog="key=value overrides any other setting of the run's config: total_batch_size=128 model.mask_ratio=0.6",
    )
    parser.add_argument('--data', required=True, action='append', metavar=DATA, help=DATA_HELP)
    parser.add_argument('--out', required=True, metavar='FOLDER', help='for config, checkpoints, logs and report')
    parser.add_argument('--method', help='default: mae; from weights without a decoder of pixels: features')
    parser.add_argument(
        '--model',
        '--init',
        metavar='SIZE|timm:NAME|hf-hub:NAME|FILE|RUN',
        help='vit-tiny, vit-small, vit-base or vit-large with random weights, or the weights to start from, e.g. '
        'timm:vit_small_patch14_dinov2.lvd142m (Apache-2.0); default: vit-tiny, with a GPU vit-small',
    )
    parser.add_argument(
        '--target', metavar='NAME', help='a network whose features are predicted: timm:NAME, efficientnet-lite0, ...'
    )
    parser.add_argument('--image-size', type=int, metavar='PIXELS', help='default: chosen from images and machine')
    parser.add_argument('--hours', type=float, help='time of training (default: a sixth, with a GPU one)')
    parser.add_argument('--epochs', type=int, help='in place of --hours')
    parser.add_argument(
        '--labels',
        metavar='CSV|FOLDER',
        help='labelled images for measuring: a csv of file and label, or class folders',
    )
    parser.add_argument('--leave-out', action='store_true', help='keep labelled images that measure out of training')
    parser.add_argument(
        '--compare',
        metavar='START,...',
        help='what the result is compared with, as --model, and random (default: random and public weights, where '
        'labels are given); none: nothing',
    )
    add_training_options(parser)
    add_machine_options(parser)
    parser.add_argument(
        '--stretch',
        action='store_true',
        help='with other --epochs than the run in --out: go on with it, by the schedule of the new length',
    )
    parser.add_argument(
        '--resume', nargs='?', const='auto', help='continue a stopped run: auto, which is done without this option too'
    )
    parser.add_argument('--amp', action='store_true', help='bfloat16 is used without it, on hardware that has it')
    parser.add_argument('--auto-scale-lr', action='store_true', help='done without it: --lr is for 256 images')
    return parser


def main(argv: List[str]) -> None:
    parser = build_parser()
    args, pairs = parse(parser, argv)
    if args.resume not in (None, 'auto'):
        parser.error(
            f'--resume {args.resume}: the run in --out goes on from its newest checkpoint by itself. From that one: '
            f'mmmim train {args.out}/pretrain.py --resume {args.resume}; from its weights, with a new schedule: --model'
        )
    options = dict(vars(args), data=one_or_all(args.data))
    for name in ('resume', 'amp', 'auto_scale_lr'):
        options.pop(name)
    check_device(options.pop('device'))
    options = {**overrides(parser, pairs, options), **options}
    keep_freed_memory()
    apis.pretrain(**options)


def one_or_all(data: List[str]) -> Union[str, List[str]]:
    """What ``--data`` named: a text where it was given once."""
    return data[0] if len(data) == 1 else data


def parse(parser: argparse.ArgumentParser, argv: List[str]) -> Tuple[argparse.Namespace, List[str]]:
    """Options anywhere, and ``key=value`` anywhere between them (argparse itself would want these in one place)."""
    args, rest = parser.parse_known_args(argv)
    pairs = [word for word in rest if word != '--cfg-options']
    wrong = [word for word in pairs if word.startswith('-') or '=' not in word]
    if wrong:
        parser.error(f'{wrong[0]} is neither an option nor key=value')
    return args, pairs


def overrides(parser: argparse.ArgumentParser, pairs: List[str], options: Dict[str, Any]) -> Dict[str, Any]:
    """``key=value`` words with values as ``--cfg-options`` reads them: numbers, booleans, None, lists."""
    if not pairs:
        return {}
    reader = argparse.ArgumentParser()
    reader.add_argument('--cfg-options', nargs='+', action=DictAction)
    found = reader.parse_args(['--cfg-options', *pairs]).cfg_options
    twice = [key for key in found if key in options]
    if twice:
        parser.error(f'{twice[0]} is an option: --{twice[0].replace("_", "-")} {found[twice[0]]}')
    return found
