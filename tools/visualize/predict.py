"""Draw what a segmentor, detector or classifier says over images.

    python tools/visualize/predict.py CONFIG CHECKPOINT IMAGE... [--out predictions.png] [--score 0.5]

CONFIG is the one that trained it, or the copy of it in the work dir. IMAGE is a file, a folder, or a pattern such as
'photos/*.jpg'; the config's test pipeline prepares them.
"""

import argparse
import sys

from mmengine.config import DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path of the trained checkpoint')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='files, folders, patterns')
    parser.add_argument('--out', default='predictions.png', help='the picture (default: %(default)s)')
    parser.add_argument('--score', type=float, default=0.5, help='least score of an instance (default: %(default)s)')
    parser.add_argument('--limit', type=int, default=16, help='most images, from the whole list (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def show(args: argparse.Namespace) -> str:
    """Writes the picture; returns a sentence that says what is in it."""
    from mmmim.config.load import load_config
    from mmmim.visualization.images import find_images
    from mmmim.visualization.predictions import build_trained, prediction_panel

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


def main() -> None:
    args = parse_args()
    from mmmim.engine.launch import USER_ERRORS, end_with

    try:
        print(show(args))
    except (*USER_ERRORS, OSError) as error:
        end_with(error, None)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == '__main__':
    main()
