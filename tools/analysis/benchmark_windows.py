"""What windows save a dense ViT: time and memory of a training step, against attention over the whole map.

    python tools/analysis/benchmark_windows.py --size 1024 --window 14
    python tools/analysis/benchmark_windows.py --size 1024 --window 14 --relative-positions decomposed --with-cp

A step is forward, backward and an AdamW update of the backbone alone, on random images. With windows the last block of
each quarter still attends globally. `full` attends over the whole map in every block, by one fused kernel, which never
has the weights of all pairs of patches in memory; `products` is the same by plain matrix products, as dense ViTs are
commonly written, which keep them for the backward pass. (So against `full` windows save time, and against `products`
memory, too.)

The contenders take turns in one process, ratios are of medians. Memory is measured apart: on a GPU what its allocator
handed out at most, without one the growth of the resident memory of a process of its own.
"""

import argparse
import itertools
import json
import os
import sys
from typing import Any, Callable, Dict

import torch

WINDOWS, FULL, PRODUCTS = CONTENDERS = ('windows', 'full', 'products')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='base', help="of DenseViT: 'tiny', 'small', 'base', 'large' or 'huge'")
    parser.add_argument('--size', type=int, default=1024, help='height and width of the images, pixels')
    parser.add_argument('--patch-size', type=int, default=16)
    parser.add_argument('--window', type=int, default=14, help='patches')
    parser.add_argument('--relative-positions', choices=['shared', 'separate', 'decomposed'])
    parser.add_argument('--with-cp', action='store_true', help='checkpoint activations')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--steps', type=int, default=5, help='timed turns of each')
    parser.add_argument('--dtype', default='bfloat16', choices=['bfloat16', 'float32'])
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--against', nargs='+', default=[FULL, PRODUCTS], choices=[FULL, PRODUCTS])
    parser.add_argument('--out', help='write what was measured to this JSON file')
    parser.add_argument('--memory-of', choices=CONTENDERS, help=argparse.SUPPRESS)  # told to a process of its own
    args = parser.parse_args()
    if min(args.size, args.patch_size, args.window, args.batch, args.steps) < 1:
        parser.error('--size, --patch-size, --window, --batch and --steps must be at least 1')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU here')
    return args


def make_step(kind: str, args: argparse.Namespace, timer) -> Callable[[torch.Tensor], None]:
    """A training step of a contender, which takes images and tells the timer its phases."""
    from mmmim.models.backbones import DenseViT

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

    def step(images: torch.Tensor) -> None:
        with torch.autocast(args.device, getattr(torch, args.dtype), enabled=args.dtype != 'float32'):
            loss = sum(m.float().square().mean() for m in vit(images))
        with timer.phase('backward'):
            loss.backward()
        with timer.phase('optimizer'):
            optimizer.step()
            optimizer.zero_grad()

    return step


def memory_of(kind: str, args: argparse.Namespace, own_process: bool = False) -> int:
    """Bytes that a step needs at most."""
    import mmmim.models.backbones  # noqa: F401  (what is imported is not to be measured)
    from mmmim.analysis.memory import device_peak, in_own_process, resident_peak
    from mmmim.analysis.timing import PhaseTimer

    device = torch.device(args.device)
    if device.type == 'cpu' and not own_process:
        return in_own_process([os.path.abspath(__file__), *sys.argv[1:], '--memory-of', kind])

    def make() -> Callable[[], None]:
        step = make_step(kind, args, PhaseTimer(device))
        return lambda: step(torch.randn(args.batch, 3, args.size, args.size, device=device))

    return device_peak(make, device) if device.type == 'cuda' else resident_peak(make)


def take_turns(args: argparse.Namespace) -> Dict[str, Dict[str, float]]:
    """For each contender a summary of the seconds of its steps; the first turn is not counted."""
    from mmmim.analysis.timing import PhaseTimer, run_steps, summarize

    timers = {kind: PhaseTimer(torch.device(args.device)) for kind in (WINDOWS, *args.against)}
    steps = {kind: make_step(kind, args, timer) for kind, timer in timers.items()}
    images = itertools.repeat(torch.randn(args.batch, 3, args.size, args.size, device=args.device))
    seconds = {kind: [] for kind in steps}
    for turn in range(1 + args.steps):
        for kind in list(steps)[:: -1 if turn % 2 else 1]:
            spent = run_steps(steps[kind], images, 1, timers[kind])
            seconds[kind] += [spent['step']] if turn else []
    return {kind: summarize(values) for kind, values in seconds.items()}


def show(result: Dict[str, Any]) -> None:
    """The lines."""
    machine, seconds, memory = result['hardware'], result['seconds'], result['memory_bytes']
    where = machine['gpu'] if result['device'] == 'cuda' else f'{machine["cpu"]}, {result["threads"]} threads'
    print(
        f'DenseViT {result["arch"]}, {result["size"]}x{result["size"]}, batch {result["batch"]}, {result["dtype"]}, '
        f'{where}'
    )
    for kind, summary in seconds.items():
        times = {key: f'{1000 * value:.0f}' for key, value in summary.items()}
        print(
            f'{kind:8s} step {times["median"]:>7s} ms (quartiles {times["q1"]}-{times["q3"]}), memory '
            f'{memory[kind] / 2**30:.2f} GiB'
        )
    for kind, ratios in result['windows_over'].items():
        print(f'{WINDOWS} over {kind}: {ratios["time"]:.3f} of the step time, {ratios["memory"]:.3f} of the memory')


def measure(args: argparse.Namespace) -> Dict[str, Any]:
    """Everything, as the JSON file has it."""
    from mmmim.engine.hardware import hardware, versions

    memory = {kind: memory_of(kind, args) for kind in (WINDOWS, *args.against)}
    seconds = take_turns(args)
    ratios = {
        kind: dict(time=seconds[WINDOWS]['median'] / seconds[kind]['median'], memory=memory[WINDOWS] / memory[kind])
        for kind in args.against
    }
    settings = {key: value for key, value in vars(args).items() if key not in ('memory_of', 'out')}
    return dict(
        settings,
        threads=torch.get_num_threads(),
        hardware=hardware(),
        versions=versions(),
        seconds=seconds,
        memory_bytes=memory,
        windows_over=ratios,
    )


def main() -> None:
    args = parse_args()
    from mmmim.engine.hardware import keep_freed_memory
    from mmmim.engine.launch import USER_ERRORS, end_with

    keep_freed_memory()
    try:
        if args.memory_of:
            print(json.dumps(dict(peak_bytes=memory_of(args.memory_of, args, own_process=True))))
            return
        result = measure(args)
    except USER_ERRORS as error:
        end_with(error, None)
    show(result)
    if args.out:
        os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
        with open(args.out, 'w') as file:
            json.dump(result, file, indent=1)


if __name__ == '__main__':
    main()
