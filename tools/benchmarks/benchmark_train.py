"""Speed, memory and utilisation of a training step, and of the same model in other libraries.

    python tools/benchmarks/benchmark_train.py CONFIG [--data] [--out FILE.json]
    python tools/benchmarks/benchmark_train.py configs/mae/vit-b_800e.py --peers mmpretrain,hf --batch 8 --steps 5
    python tools/benchmarks/benchmark_train.py configs/downstream/classification/vit-b_finetune_100e.py --peers timm
    python tools/benchmarks/benchmark_train.py configs/cmae/vit-b_800e.py --against configs/mae/vit-b_800e.py

A step is the algorithm's own, with the config's optimizers, on a batch of uint8 images in main memory, without
accumulation and without the hooks of a run. `forward` is all of it that is neither backward pass nor optimizer:
normalisation, mask, losses, momentum updates.

A round is a step of ours and of each other, in alternating order, so that a noisy machine hits all of them; ratios are
ratios of medians. In one process all have the memory settings of our runs (engine/hardware.py); with `--own-processes`
each has a process of its own, and only ours has these settings. `--data` adds steps on the config's real loader,
workers and all: `data` is the time in which the device waits for a batch. MFU is the FLOPs of the model (get_flops.py)
at the measured rate, over the best matrix product in the same precision in the same run.
`--profile` adds shares of our step's time by kind of operation.
Memory is measured apart: on a GPU what its allocator handed out at most, without one the growth of the resident memory
of a process of its own above its imports.
"""

# ruff: noqa: E402
import argparse
import contextlib
import os
from functools import partial
from typing import Any, Dict, List, Optional, Tuple

# On a CPU, threads that spin for long while they wait starve the loading workers; read when torch is imported
os.environ.setdefault('GOMP_SPINCOUNT', '20000')

import torch
from mmengine.config import Config, DictAction

from libraries import OURS, check_libraries, is_library
from memory import MEMORY, peak_memory, report_peak
from mmmim.config.load import load_config
from mmmim.engine.hardware import keep_freed_memory
from operations import share_by_kind
from processes import OwnProcess, timed_steps
from script import DTYPES, Result, add_device, add_out, at_least, make_parser, processor, run
from timing import PHASES, TimedSteps, by_phase, interleave, matmul_peak, milliseconds, run_steps, summarize
from workload import count_flops, default_batch, queue_length, real_batches, settle, synthetic_batch

Seconds = Dict[str, List[float]]  # of a step and its phases, in each round
ROW = '{:12s} {:>9s} {:>8s}  {:>15s} {:>8s} {:>8s}  {:>9s} {:>9s} {:>9s} {:>9s} {:>6s} {:>9s} {:>9s}'


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config')
    parser.add_argument('--peers', default='', help='comma-separated: mmpretrain, hf, lightly (MAE), timm (classifier)')
    parser.add_argument('--against', metavar='CONFIG', help='another config of ours, to compare step times and FLOPs')
    parser.add_argument('--batch', type=int, help="images a step (default: the config's for one device; 8 on a CPU)")
    parser.add_argument('--steps', type=at_least(1), default=10, help='timed rounds')
    parser.add_argument('--warmup', type=at_least(0), default=2, help='rounds before them that are not counted')
    parser.add_argument('--turn', type=at_least(1), help='steps of each in a round (default: 10 on a GPU, 1 on a CPU)')
    parser.add_argument('--dtype', default='bfloat16', choices=DTYPES)
    add_device(parser)
    parser.add_argument('--own-processes', action='store_true', help='each in a process of its own')
    parser.add_argument('--data', action='store_true', help="also train on the config's own data")
    parser.add_argument('--profile', action='store_true', help="also say which operations take our step's time")
    parser.add_argument('--no-memory', action='store_true', help='leave out the measurement of memory')
    add_out(parser)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    parser.add_argument('--memory-of', help=argparse.SUPPRESS)  # told to a process that measures its memory alone
    args = parser.parse_args()
    if args.own_processes and (args.data or args.profile):
        parser.error('--own-processes leaves no step of ours in this process, which --data and --profile look at')
    args.turn = args.turn or (10 if args.device == 'cuda' else 1)
    return args


def time_steps(compared: Dict[str, Tuple[Config, dict]], args: argparse.Namespace) -> Tuple[Dict[str, Seconds], Any]:
    """Seconds of the steps of all that are compared, and our own steps."""
    kind = OwnProcess if args.own_processes else timed_steps
    settings = torch.device(args.device), getattr(torch, args.dtype), args.turn
    steps = {name: kind(name, cfg, data, *settings) for name, (cfg, data) in compared.items()}
    with contextlib.ExitStack() as stack:
        if args.own_processes:
            for process in steps.values():
                stack.enter_context(process)
        rounds = interleave(steps, args.steps, args.warmup)
    return {name: by_phase(found) for name, found in rounds.items()}, steps[OURS]


def time_real_data(ours: TimedSteps, cfg: Config, args: argparse.Namespace) -> Seconds:
    """The same on the config's loader, from when the batches that were loaded ahead are used up."""
    with contextlib.closing(real_batches(cfg)) as batches:
        run_steps(ours.step, batches, args.warmup + queue_length(cfg) + 1, ours.timer)
        return by_phase([run_steps(ours.step, batches, args.turn, ours.timer) for _ in range(args.steps)])


def memory_of(name: str, cfg: Config, data: dict, args: argparse.Namespace) -> Optional[int]:
    """Bytes that a step of one needs at most; the process that was started to measure them prints them."""
    device = torch.device(args.device)
    build = partial(timed_steps, name, cfg, data, device, getattr(torch, args.dtype), 1)
    return report_peak(build) if args.memory_of else peak_memory(build, device, name)


def compare(compared: Dict[str, Tuple[Config, dict]], args: argparse.Namespace) -> Dict[str, Any]:
    """Everything about each (its config and a batch), as the JSON file has it."""
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    configs = {id(cfg): cfg for cfg, _ in compared.values()}  # other libraries have the FLOPs of ours
    counted = {key: count_flops(cfg, device)[1].total() for key, cfg in configs.items()}
    flops = {name: counted[id(cfg)] for name, (cfg, _) in compared.items()}
    memory = {name: None if args.no_memory else memory_of(name, *each, args) for name, each in compared.items()}
    peak = matmul_peak(device, dtype)
    seconds, ours = time_steps(compared, args)
    loaded = time_real_data(ours, compared[OURS][0], args) if args.data else None
    peak = max(peak, matmul_peak(device, dtype))
    shares = share_by_kind(ours.step, ours.batch, device) if args.profile else None

    def rates(name: str, phases: Seconds) -> Dict[str, Any]:
        summaries = {phase: summarize(values) for phase, values in phases.items()}
        rate = args.batch / summaries['step']['median']
        return dict(images_per_second=rate, mfu=rate * flops[name] / peak, seconds=summaries, turns=phases)

    results = {name: dict(rates(name, seconds[name]), peak_memory_bytes=memory[name]) for name in compared}
    our_median = results[OURS]['seconds']['step']['median']
    for name, result in results.items():
        result['step_time_over_ours'] = result['seconds']['step']['median'] / our_median
        result['flops_per_image'] = flops[name]
    return dict(
        matmul_tflops=peak / 1e12,
        flops_per_image=flops[OURS],
        contenders=results,
        real_data=rates(OURS, loaded) if loaded else None,
        shares=shares,
    )


def measure(args: argparse.Namespace) -> Optional[Result]:
    """Everything, as the JSON file has it; a process for the memory of one prints only that."""
    others_alone = is_library(args.memory_of) if args.memory_of else args.own_processes
    if not others_alone:
        keep_freed_memory()
    cfg = load_config(args.config, args.cfg_options)
    args.batch = default_batch(cfg, torch.device(args.device)) if args.batch is None else args.batch
    settle(cfg, args.batch, args.dtype)
    libraries = [name.strip() for name in args.peers.split(',') if name.strip()]
    check_libraries(libraries if args.memory_of in (None, *libraries) else [], cfg)
    torch.manual_seed(0)
    ours = cfg, synthetic_batch(cfg, args.batch)
    compared = {name: ours for name in (OURS, *libraries)}
    if args.against:
        other = load_config(args.against)
        settle(other, args.batch, args.dtype)
        compared[args.against] = other, synthetic_batch(other, args.batch)
    if args.memory_of:
        return memory_of(args.memory_of, *compared[args.memory_of], args)
    return dict(
        steps_per_turn=args.turn,
        images='synthetic uint8 in main memory',
        memory=None if args.no_memory else MEMORY[args.device],
        **compare(compared, args),
    )


def show(result: Result) -> None:
    """Print the table."""
    print(f'{result["config"]}: batch {result["batch"]}, {result["dtype"]}, {processor(result)}')
    gflop, tflops = result['flops_per_image'] / 1e9, result['matmul_tflops']
    print(f'{gflop:.1f} GFLOP an image; best matrix product {tflops:.2f} TFLOP/s\n')
    print(ROW.format('', 'images/s', 'step', 'quartiles', 'min', 'max', *PHASES, 'MFU', 'memory', 'time/ours'))
    for name, numbers in result['contenders'].items():
        print(_row(name, numbers))
    if result['real_data']:
        print(_row('real data', result['real_data']))
    for kind, share in (result['shares'] or {}).items():
        print(f'{share:7.1%}  {kind}')
    for name, numbers in result['contenders'].items():
        if numbers['flops_per_image'] != result['flops_per_image']:
            time = 1 / numbers['step_time_over_ours']
            flops = result['flops_per_image'] / numbers['flops_per_image']
            print(f'\nours over {name}: {time:.3f} of the step time, {flops:.3f} of the FLOPs: {time / flops:.3f}')
    memory = f' Memory: {result["memory"]}.' if result['memory'] else ''
    print(f'\nTimes in milliseconds, medians of {result["steps"]} rounds.{memory}')
    print('Synthetic images, uint8 in main memory' + (', except for real data.' if result['real_data'] else '.'))


def _row(name: str, numbers: Dict[str, Any]) -> str:
    seconds, memory = numbers['seconds'], numbers.get('peak_memory_bytes')
    step = milliseconds(seconds['step'], digits=1)
    return ROW.format(
        name,
        f'{numbers["images_per_second"]:.2f}',
        step['median'],
        f'{step["q1"]}-{step["q3"]}',
        step['min'],
        step['max'],
        *(milliseconds(seconds[phase], digits=1)['median'] if phase in seconds else '-' for phase in PHASES),
        f'{numbers["mfu"]:.1%}',
        f'{memory / 2**30:.2f} GiB' if memory is not None else '-',
        f'{numbers["step_time_over_ours"]:.2f}' if 'step_time_over_ours' in numbers else '-',
    )


if __name__ == '__main__':
    run(parse_args(), measure, show)
