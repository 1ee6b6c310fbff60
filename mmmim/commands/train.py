"""Train anything that a config describes: pre-training here; classification, segmentation, detection by their scopes.

    mmmim train CONFIG [--resume [CHECKPOINT] | --anew] [--work-dir DIR] [--lr RATE] [--batch-size IMAGES] [--epochs N]
        [--seed N] [--device cpu|cuda:N] [--workers N] [--cfg-options key=value ...]

Several processes: torchrun --nproc_per_node=N -m mmmim train CONFIG --launcher pytorch; a checkout has
tools/dist_train.sh and tools/slurm_train.sh. Exit code 75: it was stopped by a signal (SIGTERM) and
saved a checkpoint; run it again with --resume.
"""

import argparse
import os
import sys
from typing import List

from mmengine.config import DictAction

from ..config.options import (
    add_machine_options,
    add_training_options,
    autocast,
    check_device,
    configured,
    scale_rate,
)
from ..engine.launch import USER_ERRORS, build_runner, end_with
from ..engine.processes import ending_at_once


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim train',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # cli.choose_device reads --device before this
    )
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--work-dir', help='for checkpoints and logs (default: work_dirs/, then as below configs/)')
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from CHECKPOINT, or from the newest whole one in the work dir (also: --resume auto)',
    )
    start.add_argument(
        '--anew', action='store_true', help='begin although the work dir has checkpoints; they are moved to earlier_N/'
    )
    parser.add_argument(
        '--stretch',
        action='store_true',
        help='with --resume: go on with the learning rates of this config, such as of a longer schedule',
    )
    add_training_options(parser)
    parser.add_argument('--epochs', type=int, metavar='N', help='max_epochs: the length of training and its schedule')
    parser.add_argument(
        '--image-size', type=int, metavar='PIXELS', help='image_size or crop_size, where a config has one'
    )
    add_machine_options(parser)
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision: on in our configs, where hardware has bf16'
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='the linear rule: on in our configs, by base_lr')
    parser.add_argument('--no-validate', action='store_true', help='leave out validation during training')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override entries of the config, e.g. total_batch_size=512 model.neck.depth=4',
    )
    parser.add_argument(
        '--cpu', action='store_true', help='use the CPU, even beside a GPU, and with any number of processes'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def train(args: argparse.Namespace) -> None:
    runner = None
    try:
        check_device(args.device, args.launcher)
        cfg = configured(args)
        if args.amp:
            autocast(cfg)
        if args.auto_scale_lr:
            scale_rate(cfg)
        if args.resume == 'auto':
            cfg.resume = 'auto'
        elif args.resume:
            cfg.resume, cfg.load_from = True, args.resume
        if args.stretch:
            if not args.resume:
                raise ValueError('--stretch is for a run that goes on: give --resume, too')
            cfg.resume_schedule = 'stretch'
        if args.no_validate:
            cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        runner = build_runner(cfg, args.launcher, args.anew)
        runner.train()
    except USER_ERRORS as error:
        end_with(error, runner)
    except KeyboardInterrupt:
        sys.exit(130)


def main(argv: List[str]) -> None:
    args = parse_args(argv)
    with ending_at_once():
        train(args)
