"""Show what a config's training pipeline really feeds: crops, views, masks and labels of some images.

    python tools/visualize/browse_dataset.py CONFIG [--images 8] [--epochs 3] [--out browse.png]
    python tools/visualize/browse_dataset.py configs/cmae/vit-b_800e.py --cfg-options data_root=PATH/TO/imagenet

For pre-training, classification, segmentation, detection and landmarks. A row is an image, its columns are what the
first epochs of a run with this seed make of it (--cfg-options randomness.seed=1: another run), after the changes on the
device.
"""

import argparse
import sys

from mmengine.config import DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--images', type=int, default=8, help='from the whole data set (default: %(default)s)')
    parser.add_argument('--epochs', type=int, default=3, help='how often each is drawn (default: %(default)s)')
    parser.add_argument('--out', default='browse.png', help='the picture (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmmim.config.load import load_config
    from mmmim.engine.launch import USER_ERRORS, end_with
    from mmmim.visualization.training_samples import training_panel

    try:
        panel = training_panel(load_config(args.config, args.cfg_options), args.images, args.epochs)
        panel.save(args.out)
        print(f'{args.out}: {len(panel.tiles)} images, {args.epochs} epochs; {panel.notes["caption"]}')
    except (*USER_ERRORS, OSError) as error:
        end_with(error, None)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == '__main__':
    main()
