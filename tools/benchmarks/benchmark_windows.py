"""What windows save a dense ViT: time and memory of a training step, against attention over the whole map.

    python tools/benchmarks/benchmark_windows.py --size 1024 --window 14
    python tools/benchmarks/benchmark_windows.py --size 1024 --window 14 --relative-positions decomposed --with-cp

A step is forward, backward and an AdamW update of the backbone alone, on random images. With windows the last block of
each quarter still attends globally. `full` attends over the whole map in every block, by one fused kernel, which never
has the weights of all pairs of patches in memory; `products` is the same by plain matrix products, as dense ViTs are
commonly written, which keep them for the backward pass. (So against `full` windows save time, and against `products`
memory, too.)

A round is a step of each, in one process; ratios are of medians. Memory is measured apart: on a GPU what its allocator
handed out at most, without one the growth of the resident memory of a process of its own.
"""

import argparse
from functools import partial
from typing import Optional

import torch
from torch import Tensor

from memory import peak_memory, report_peak
from mmmim.engine.hardware import keep_freed_memory
from mmmim.models.backbones import DenseViT
from script import DTYPES, Result, add_device, add_out, at_least, make_parser, processor, run
from timing import PhaseTimer, TimedSteps, TrainingStep, interleave, milliseconds, summarize

WINDOWS, FULL, PRODUCTS = KINDS = ('windows', 'full', 'products')


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('--arch', default='base', help="of DenseViT: 'tiny', 'small', 'base', 'large' or 'huge'")
    parser.add_argument('--size', type=at_least(1), default=1024, help='height and width of the images, pixels')
    parser.add_argument('--patch-size', type=at_least(1), default=16)
    parser.add_argument('--window', type=at_least(1), default=14, help='patches')
    parser.add_argument('--relative-positions', choices=['shared', 'separate', 'decomposed'])
    parser.add_argument('--with-cp', action='store_true', help='checkpoint activations')
    parser.add_argument('--batch', type=at_least(1), default=1)
    parser.add_argument('--steps', type=at_least(1), default=5, help='timed rounds')
    parser.add_argument('--dtype', default='bfloat16', choices=DTYPES)
    add_device(parser)
    parser.add_argument('--against', nargs='+', default=[FULL, PRODUCTS], choices=[FULL, PRODUCTS])
    add_out(parser)
    parser.add_argument('--memory-of', choices=KINDS, help=argparse.SUPPRESS)  # told to a process of its own
    return parser.parse_args()


def make_step(kind: str, args: argparse.Namespace, timer: PhaseTimer) -> TrainingStep:
    """A training step with one kind of attention, which takes images and tells the timer its phases."""
    torch.manual_seed(0)
    vit = DenseViT(
        args.arch,
        img_size=args.size // args.patch_size * args.patch_size,
        patch_size=args.patch_size,
        class_token=False,
        window_size=args.window if kind == WINDOWS else None,
        with_cp=args.with_cp,
        relative_positions=args.relative_positions,
    ).to(args.device)
    for block in vit.blocks:
        block.attn.fused_attn = {FULL: True, PRODUCTS: False}.get(kind)
    trained = [parameter for parameter in vit.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def loss(images: Tensor) -> Tensor:
        return sum(features.float().square().mean() for features in vit(images))

    return TrainingStep(vit, optimizer, loss, timer, getattr(torch, args.dtype))


def timed_steps(kind: str, args: argparse.Namespace) -> TimedSteps:
    """A step on random images."""
    timer = PhaseTimer(torch.device(args.device))
    images = torch.randn(args.batch, 3, args.size, args.size, device=args.device)
    return TimedSteps(make_step(kind, args, timer), images, timer)


def measure(args: argparse.Namespace) -> Optional[Result]:
    """Everything, as the JSON file has it; a process for the memory of one kind prints only that."""
    keep_freed_memory()
    if args.memory_of:
        return report_peak(partial(timed_steps, args.memory_of, args))
    kinds = (WINDOWS, *args.against)
    memory = {kind: peak_memory(partial(timed_steps, kind, args), torch.device(args.device), kind) for kind in kinds}
    rounds = interleave({kind: timed_steps(kind, args) for kind in kinds}, args.steps)
    seconds = {kind: summarize([spent['step'] for spent in found]) for kind, found in rounds.items()}
    ratios = {
        kind: dict(time=seconds[WINDOWS]['median'] / seconds[kind]['median'], memory=memory[WINDOWS] / memory[kind])
        for kind in args.against
    }
    return dict(seconds=seconds, memory_bytes=memory, windows_over=ratios)


def show(result: Result) -> None:
    """Print the lines."""
    size = f'{result["size"]}x{result["size"]}'
    print(f'DenseViT {result["arch"]}, {size}, batch {result["batch"]}, {result["dtype"]}, {processor(result)}')
    for kind, summary in result['seconds'].items():
        times, memory = milliseconds(summary), result['memory_bytes'][kind] / 2**30
        quartiles = f'{times["q1"]}-{times["q3"]}'
        print(f'{kind:8s} step {times["median"]:>7s} ms (quartiles {quartiles}), memory {memory:.2f} GiB')
    for kind, ratios in result['windows_over'].items():
        print(f'{WINDOWS} over {kind}: {ratios["time"]:.3f} of the step time, {ratios["memory"]:.3f} of the memory')


if __name__ == '__main__':
    run(parse_args(), measure, show)
