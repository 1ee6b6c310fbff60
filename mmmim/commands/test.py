"""Measure a pre-trained checkpoint: loss on held-out images, and k-NN and a linear probe where there are labels.

    mmmim test CONFIG [CHECKPOINT] [--work-dir DIR] [--batch-size IMAGES] [--seed N] [--device cpu|cuda:N] [--workers N]
        [--cfg-options key=value ...] [--out RESULT.json]

Without CHECKPOINT the model is measured at its random initialisation. CHECKPOINT may have any naming scheme that
mmmim knows. The numbers also go to evaluations/ in the work dir, where the report page finds them. A config of another
toolbox is tested by that toolbox's own evaluators.
"""

import argparse
import datetime
import json
import os
import os.path as osp
import sys
from typing import List

from mmengine.config import DictAction

from ..checkpoint import atomic_write_text
from ..config.options import add_machine_options, check_device, configured
from ..engine.hooks import RunStateHook
from ..engine.launch import USER_ERRORS, build_runner, end_with
from ..engine.processes import ending_at_once
from ..evaluation import FeatureEvaluator


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim test',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # cli.choose_device reads --device before this
    )
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', nargs='?', help='path of the checkpoint (none: random initialisation)')
    parser.add_argument('--work-dir', help='where the log goes (default: work_dirs/, then as below configs/)')
    parser.add_argument('--out', help='write the numbers to this JSON file')
    parser.add_argument('--linear', action='store_true', help='also fit a linear probe on the frozen features')
    parser.add_argument('--batch-size', type=int, metavar='IMAGES', help='at once, in each process')
    parser.add_argument('--seed', type=int, help='randomness.seed')
    add_machine_options(parser)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    parser.add_argument(
        '--cpu', action='store_true', help='use the CPU, even beside a GPU, and with any number of processes'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def measure(args: argparse.Namespace) -> dict:

    check_device(args.device, args.launcher)
    cfg = configured(args, batch_size='test_dataloader.batch_size')
    if args.checkpoint and '://' not in args.checkpoint and not osp.isfile(args.checkpoint):
        raise FileNotFoundError(f'there is no checkpoint {args.checkpoint!r}')
    cfg.resume, cfg.load_from = False, args.checkpoint
    for key in ('total_batch_size', 'max_epochs', 'base_lr'):  # of training only: any number of processes may test
        cfg.pop(key, None)
    work_dir, cfg.work_dir = cfg.work_dir, osp.join(cfg.work_dir, 'test')  # apart from the logs of training
    feature_eval = cfg.get('feature_eval')
    runner = build_runner(cfg, args.launcher)
    result = dict(checkpoint=args.checkpoint or 'random initialisation')
    result.update(runner.test())  # this also loads the checkpoint
    if feature_eval:
        evaluator = FeatureEvaluator(**{**feature_eval, 'linear': args.linear or feature_eval.get('linear', False)})
        try:
            result.update(evaluator(runner.model))
        except (ValueError, FileNotFoundError) as error:  # images without labels are a normal case
            runner.logger.info(f'no k-NN: {error}')
    if runner.rank == 0:
        print(json.dumps(result, indent=1))
        loaded = next(hook.loaded for hook in runner.hooks if isinstance(hook, RunStateHook))
        keep(result, loaded, args, work_dir)
    return result


def keep(result: dict, loaded: dict, args: argparse.Namespace, work_dir: str) -> None:
    """Write the numbers to the work dir, where the report finds them, and to the file of ``--out``.

    ``loaded`` is the checkpoint's iteration and epoch.
    """

    result = dict(
        result,
        **loaded,
        config=args.config,
        when=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
    )
    name = osp.splitext(osp.basename(args.checkpoint))[0] if args.checkpoint else 'random_initialisation'
    for path in filter(None, (osp.join(work_dir, 'evaluations', f'{name}.json'), args.out)):
        os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
        atomic_write_text(path, json.dumps(result, indent=1))


def main(argv: List[str]) -> None:
    args = parse_args(argv)
    with ending_at_once():
        try:
            measure(args)
        except USER_ERRORS as error:
            end_with(error, None)
        except KeyboardInterrupt:
            sys.exit(130)
