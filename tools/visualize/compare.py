"""Draw what several trained segmentors or detectors say about the same held-out images, beside the truth.

    python tools/visualize/compare.py CONFIG TITLE=CHECKPOINT [TITLE=CHECKPOINT ...] [--out comparison.png] [--count 6]

CONFIG is the one that trained them all, or the copy of it in a work dir; its validation set gives images and truth.
"""

import argparse
import sys
from typing import Dict, List

from mmengine.config import DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoints', nargs='+', metavar='TITLE=CHECKPOINT', help='a column each')
    parser.add_argument('--out', default='comparison.png', help='the picture (default: %(default)s)')
    parser.add_argument('--count', type=int, default=6, help='images, from the whole set (default: %(default)s)')
    parser.add_argument('--score', type=float, default=0.3, help='least score of an instance (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def by_title(words: List[str]) -> Dict[str, str]:
    """``{title: checkpoint}``; a checkpoint alone is its own title."""
    return {
        title if equals else word: path if equals else word
        for word in words
        for title, equals, path in [word.partition('=')]
    }


def show(args: argparse.Namespace) -> str:
    """Writes the picture; returns a sentence that says what is in it."""
    from mmmim.config.detection import settle_detector
    from mmmim.config.load import load_config
    from mmmim.config.prepare import set_up_scope
    from mmmim.config.segmentation import settle_segmentor
    from mmmim.visualization.comparison import comparison_panel
    from mmmim.visualization.predictions import build_trained

    cfg = load_config(args.config, args.cfg_options)
    set_up_scope(cfg)
    settle_segmentor(cfg)
    settle_detector(cfg)
    models = {title: build_trained(cfg, path) for title, path in by_title(args.checkpoints).items()}
    panel = comparison_panel(cfg, models, args.count, args.score, dict(config=args.config, score=args.score))
    panel.save(args.out)
    return f'{args.out}: {len(panel.tiles)} images, {len(models)} models'


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
