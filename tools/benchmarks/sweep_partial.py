"""Partial fine-tuning over the number of trained blocks, and the curve of its accuracies (MAE, Fig. 9).

    python tools/benchmarks/sweep_partial.py CONFIG [--blocks 0,0.5,1,2,4,12] [--linear LINEAR_CONFIG] [--gpus N]
        [--work-dir DIR] [--cfg-options pretrained=CHECKPOINT ...]

Each number of blocks is a run of its own with `model.backbone.trainable_blocks` set, in DIR/blocks_N. LINEAR_CONFIG, a
linear probing recipe, stands in for CONFIG at 0 blocks, as in the paper. A sweep that was stopped goes on where it was:
runs that are done are not repeated, others resume. Other configs or options need another DIR. Results: DIR/sweep.json
and DIR/partial.png.
"""

import argparse
import io
import json
import os.path as osp
import subprocess
import sys
from typing import Dict, List, Tuple

from mmmim.checkpoint import atomic_write_bytes, atomic_write_text
from mmmim.config.load import load_config
from mmmim.models.backbones.vit import resolve_architecture
from script import errors_in_one_line, make_parser
from started_runs import ACCURACY, claim, final_accuracy, start_text

TOOLS = osp.dirname(osp.dirname(osp.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='a fine-tuning config with our backbone')
    parser.add_argument('--blocks', help='comma-separated numbers of blocks (default: 0, 0.5, 1, 2, 4 ... all)')
    parser.add_argument('--linear', metavar='LINEAR_CONFIG', help='the config for 0 blocks')
    parser.add_argument('--gpus', type=int, default=1, help='processes of each run (tools/dist_train.sh)')
    parser.add_argument('--work-dir', help='default: work_dirs/, the path below configs/, and _sweep')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='passed on to every run')
    return parser.parse_args()


def parse_blocks(text: str, depth: int) -> List[float]:
    """``'0,0.5,1'`` in ascending order; without a text halves, powers of two and all blocks.

    Raises:
        ValueError: A number that is no multiple of a half between 0 and the depth.
    """
    if not text:
        powers = [2**i for i in range(depth.bit_length()) if 2**i < depth]
        return [0, 0.5, *powers, depth]
    try:
        blocks = sorted({float(part) for part in text.split(',') if part.strip()})
    except ValueError:
        raise ValueError(f'--blocks {text}: comma-separated numbers are needed, such as 0,0.5,1,2') from None
    bad = [n for n in blocks if not 0 <= n <= depth or n * 2 % 1]
    if bad or not blocks:
        raise ValueError(f'--blocks {text}: multiples of 0.5 between 0 and {depth}, the number of blocks, are needed')
    return [int(n) if n == int(n) else n for n in blocks]


def settings(args: argparse.Namespace, blocks: float) -> Tuple[str, List[str]]:
    """The config and the options of the run with so many blocks."""
    config = args.linear if blocks == 0 and args.linear else args.config
    return config, [*args.cfg_options, f'model.backbone.trainable_blocks={blocks}']


def train(args: argparse.Namespace, blocks: float, work_dir: str) -> None:
    """Train with so many blocks, or go on with it.

    Raises:
        RuntimeError: The run failed; its own messages stand above.
    """
    config, options = settings(args, blocks)
    command = [sys.executable, osp.join(TOOLS, 'train.py'), config]
    if args.gpus != 1:
        command = ['bash', osp.join(TOOLS, 'dist_train.sh'), config, str(args.gpus)]
    done = subprocess.run([*command, '--work-dir', work_dir, '--resume', '--cfg-options', *options])
    if done.returncode:
        raise RuntimeError(f'training with {blocks} blocks ended with {done.returncode}; the same command goes on')


def draw(results: Dict[float, float], path: str) -> None:
    """The curve over equally spaced numbers of blocks, as in the paper, written in one step."""
    from matplotlib.figure import Figure

    figure = Figure((5.0, 3.4), dpi=150, layout='constrained')
    axes = figure.add_subplot()
    places = range(len(results))
    axes.plot(places, list(results.values()), marker='o', linewidth=1.6, color='#1f5fb4')
    for place, accuracy in zip(places, results.values()):
        axes.annotate(f'{accuracy:.1f}', (place, accuracy), (0, 6), textcoords='offset points', ha='center', fontsize=8)
    axes.set_xticks(list(places), [f'{blocks:g}' for blocks in results])
    axes.set(xlabel='blocks trained', ylabel='top-1 accuracy (%)', title='Partial fine-tuning')
    axes.margins(y=0.15)
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    data = io.BytesIO()
    figure.savefig(data, format='png')
    atomic_write_bytes(data.getvalue(), path)


def sweep(args: argparse.Namespace) -> Tuple[str, Dict[float, float]]:
    """Run everything; the picture's path and the accuracies in percent."""
    cfg = load_config(args.config)
    folder = args.work_dir or f'{cfg.work_dir}_sweep'
    picture = osp.join(folder, 'partial.png')
    depth = resolve_architecture(cfg.model.backbone.arch)[1]
    work_dirs = {blocks: osp.join(folder, f'blocks_{blocks:g}') for blocks in parse_blocks(args.blocks, depth)}
    for blocks, work_dir in work_dirs.items():  # all of them, before one is trained for long
        claim(work_dir, start_text(*settings(args, blocks)), '--work-dir')
    results: Dict[float, float] = {}
    record = dict(config=args.config, linear=args.linear, options=args.cfg_options, metric=ACCURACY)
    for blocks, work_dir in work_dirs.items():
        results[blocks] = final_accuracy(work_dir, lambda: train(args, blocks, work_dir))
        # after each, so that a long sweep can be looked at
        record.update(blocks=list(results), accuracy=list(results.values()))
        atomic_write_text(osp.join(folder, 'sweep.json'), json.dumps(record, indent=1))
        draw(results, picture)
    return picture, results


def main() -> None:
    args = parse_args()
    with errors_in_one_line():
        path, results = sweep(args)
    print('\n'.join(f'{blocks:>5g} blocks: {accuracy:.2f}%' for blocks, accuracy in results.items()))
    print(path)


if __name__ == '__main__':
    main()
