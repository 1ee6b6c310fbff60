"""Speed, memory and utilisation of a training step, and of the same model in other libraries.

    python tools/analysis/benchmark_train.py CONFIG [--data] [--out FILE.json]
    python tools/analysis/benchmark_train.py configs/mae/vit-b_800e.py --peers mmpretrain,hf --batch 8 --steps 5
    python tools/analysis/benchmark_train.py configs/downstream/classification/vit-b_finetune_100e.py --peers timm
    python tools/analysis/benchmark_train.py configs/cmae/vit-b_800e.py --against configs/mae/vit-b_800e.py

A step is the algorithm's own, with the config's optimizers, on a batch of uint8 images in main memory, without
accumulation and without the hooks of a run. `forward` is all of it that is neither backward pass nor optimizer:
normalisation, mask, losses, momentum updates.

Contenders take turns in one process, in alternating order, so that a noisy machine hits all of them; ratios are ratios
of medians. There all have the memory settings of our runs (engine/host_memory.py); with `--own-processes` each has a
process of its own, the peers' as their users start it, and these take turns. `--data` adds steps on the config's real
loader, workers and all: `data` is the time in which the device waits for a batch. MFU is the FLOPs of the model
(tools/analysis/get_flops.py) at the measured rate, over the best matrix product in the same precision in the same run.
`--profile` adds shares of our step's time by kind of operation.
Memory is measured apart: on a GPU what its allocator handed out at most, without one the growth of the resident memory
of a process of its own above its imports.
"""

import argparse
import contextlib
import json
import os
import shlex
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

# On a CPU, threads that spin for long while they wait starve the loading workers; read when torch is imported
os.environ.setdefault('GOMP_SPINCOUNT', '20000')

import torch  # noqa: E402
from mmengine.config import Config, DictAction  # noqa: E402

PHASES = ('data', 'forward', 'backward', 'optimizer')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument(
        '--peers', default='', help='comma-separated: mmpretrain, hf, lightly (plain MAE); timm (classifiers)'
    )
    parser.add_argument('--against', metavar='CONFIG', help='another config of ours, to compare step times and FLOPs')
    parser.add_argument('--batch', type=int, help="images a step (default: the config's for one device; 8 on a CPU)")
    parser.add_argument('--steps', type=int, default=10, help='timed turns of each contender')
    parser.add_argument('--warmup', type=int, default=2, help='turns before them that are not counted')
    parser.add_argument('--turn', type=int, help='steps in a row that make a turn (default: 10 on a GPU, 1 on a CPU)')
    parser.add_argument('--dtype', default='bfloat16', choices=['bfloat16', 'float32'])
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--own-processes', action='store_true', help='each contender in a process of its own')
    parser.add_argument('--data', action='store_true', help="also train on the config's own data")
    parser.add_argument('--profile', action='store_true', help="also say which operations take our step's time")
    parser.add_argument('--no-memory', action='store_true', help='leave out the measurement of memory')
    parser.add_argument('--out', help='write everything that was measured to this JSON file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    parser.add_argument('--memory-of', help=argparse.SUPPRESS)  # what a process for one contender's memory is told
    args = parser.parse_args()
    if min(args.steps, args.warmup + 1, args.turn or 1) < 1:
        parser.error('--steps and --turn must be at least 1, --warmup at least 0')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU here')
    if args.own_processes and (args.data or args.profile):
        parser.error('--own-processes leaves no step of ours in this process, which --data and --profile look at')
    return args


def take_turns(
    turns: Dict[str, Callable[[], Dict[str, float]]], args: argparse.Namespace
) -> Dict[str, Dict[str, List[float]]]:
    """Seconds of one step for each contender, phase and timed turn."""
    from mmmim.progress import track

    seconds: Dict[str, Dict[str, List[float]]] = {name: {} for name in turns}
    for turn in track(range(args.warmup + args.steps), 'Taking turns', unit='turn'):
        for name in list(turns)[:: -1 if turn % 2 else 1]:
            spent = turns[name]()
            spent['forward'] += spent.pop('data')  # nothing is loaded: that is the cost of the loop
            if turn >= args.warmup:
                for phase, value in spent.items():
                    seconds[name].setdefault(phase, []).append(value)
    return seconds


def on_real_data(cfg: Config, step: Callable, timer: Any, args: argparse.Namespace) -> Dict[str, List[float]]:
    """The same for ours alone, on the config's loader, from when the batches that were loaded ahead are used up."""
    from mmmim.analysis.timing import run_steps
    from mmmim.analysis.workload import queue_length, real_batches

    batches = real_batches(cfg)
    try:
        run_steps(step, batches, args.warmup + queue_length(cfg) + 1, timer)
        turns = [run_steps(step, batches, args.turn, timer) for _ in range(args.steps)]
    finally:
        batches.close()
    return {phase: [turn[phase] for turn in turns] for phase in ('step', *PHASES)}


def count_flops(cfg: Config, device: torch.device) -> float:
    """FLOPs of a step for one image."""
    from mmmim.analysis.flops import count_step
    from mmmim.analysis.workload import build, fit_target, synthetic_batch, uncompiled

    algorithm, optim_wrapper = build(uncompiled(cfg), device)
    data = synthetic_batch(cfg, batch=2)
    fit_target(algorithm, data)
    return count_step(algorithm, optim_wrapper, data, batch=2).total()


def memory_of(name: str, cfg: Config, data: dict, args: argparse.Namespace, own_process: bool = False) -> int:
    """Bytes that one contender needs at most."""
    from mmmim.analysis.contenders import make_step
    from mmmim.analysis.memory import device_peak, in_own_process, resident_peak
    from mmmim.analysis.timing import PhaseTimer

    device = torch.device(args.device)
    if device.type == 'cpu' and not own_process:
        return in_own_process([os.path.abspath(__file__), *sys.argv[1:], '--memory-of', name])

    def make() -> Callable[[], None]:
        step = make_step(name, cfg, data, getattr(torch, args.dtype), PhaseTimer(device))
        return lambda: step(data)

    return device_peak(make, device) if device.type == 'cuda' else resident_peak(make)


def measure(contenders: Dict[str, Tuple[Config, dict]], args: argparse.Namespace) -> Dict[str, Any]:
    """Everything about every contender (its config and a batch), as the JSON file has it."""
    from mmmim.analysis.contenders import OURS
    from mmmim.analysis.operations import share_by_kind
    from mmmim.analysis.timing import matmul_peak, summarize
    from mmmim.analysis.turns import Here, OwnProcess

    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    counted = {id(cfg): count_flops(cfg, device) for cfg, _ in contenders.values()}
    flops = {name: counted[id(cfg)] for name, (cfg, _) in contenders.items()}
    memory = {
        name: None if args.no_memory else memory_of(name, *contender, args) for name, contender in contenders.items()
    }
    peak = matmul_peak(device, dtype)
    kind = OwnProcess if args.own_processes else Here
    with contextlib.ExitStack() as stack:
        steps = {
            name: stack.enter_context(kind(name, *contender, device, dtype, args.turn))
            for name, contender in contenders.items()
        }
        seconds = take_turns(steps, args)
    mine = steps[OURS]
    loaded = on_real_data(contenders[OURS][0], mine.step, mine.timer, args) if args.data else None
    peak = max(peak, matmul_peak(device, dtype))
    shares = share_by_kind(mine.step, contenders[OURS][1], device) if args.profile else None

    def rates(name: str, phases: Dict[str, List[float]]) -> Dict[str, Any]:
        summaries = {phase: summarize(values) for phase, values in phases.items()}
        rate = args.batch / summaries['step']['median']
        return dict(images_per_second=rate, mfu=rate * flops[name] / peak, seconds=summaries, turns=phases)

    results = {name: dict(rates(name, seconds[name]), peak_memory_bytes=memory[name]) for name in contenders}
    medians = {name: result['seconds']['step']['median'] for name, result in results.items()}
    for name, result in results.items():
        result.update(step_time_over_ours=medians[name] / medians[OURS], flops_per_image=flops[name])
    return dict(
        matmul_tflops=peak / 1e12,
        flops_per_image=flops[OURS],
        contenders=results,
        real_data=rates(OURS, loaded) if loaded else None,
        shares=shares,
    )


def facts(args: argparse.Namespace) -> Dict[str, Any]:
    """What was measured, and on what."""
    from mmmim.engine.hardware import hardware, versions

    on_gpu, installed = args.device == 'cuda', versions('transformers', 'lightly')
    memory = 'peak of the GPU allocator' if on_gpu else 'growth of the resident memory of a process of its own'
    return dict(
        command=' '.join(map(shlex.quote, ['python', *sys.argv])),
        config=args.config,
        batch=args.batch,
        dtype=args.dtype,
        device=args.device,
        steps=args.steps,
        steps_per_turn=args.turn,
        warmup=args.warmup,
        own_processes=args.own_processes,
        threads=torch.get_num_threads(),
        hardware=hardware(),
        versions=installed,
        images='synthetic uint8 in main memory',
        memory=None if args.no_memory else memory,
    )


def show(result: Dict[str, Any]) -> None:
    """The table."""
    machine = result['hardware']
    where = machine['gpu'] if result['device'] == 'cuda' else f'{machine["cpu"]}, {result["threads"]} threads'
    print(f'{result["config"]}: batch {result["batch"]}, {result["dtype"]}, {where}')
    print(
        f'{result["flops_per_image"] / 1e9:.1f} GFLOP an image; best matrix product '
        f'{result["matmul_tflops"]:.2f} TFLOP/s\n'
    )
    print(
        f'{"":12s} {"images/s":>9s} {"step":>8s}  {"quartiles":>15s} {"min":>8s} {"max":>8s}  '
        + ' '.join(f'{phase:>9s}' for phase in PHASES)
        + f' {"MFU":>6s} {"memory":>9s} {"time/ours":>9s}'
    )
    for name, contender in result['contenders'].items():
        print(_row(name, contender))
    if result['real_data']:
        print(_row('real data', result['real_data']))
    for kind, share in (result['shares'] or {}).items():
        print(f'{share:7.1%}  {kind}')
    memory = f' Memory: {result["memory"]}.' if result['memory'] else ''
    for name, contender in result['contenders'].items():
        if contender['flops_per_image'] != result['flops_per_image']:
            time = 1 / contender['step_time_over_ours']
            flops = result['flops_per_image'] / contender['flops_per_image']
            print(f'\nours over {name}: {time:.3f} of the step time, {flops:.3f} of the FLOPs: {time / flops:.3f}')
    print(
        f'\nTimes in milliseconds, medians of {result["steps"]} turns.{memory}\n'
        'Synthetic images, uint8 in main memory' + (', except for real data.' if result['real_data'] else '.')
    )


def _row(name: str, numbers: Dict[str, Any]) -> str:
    seconds, memory = numbers['seconds'], numbers.get('peak_memory_bytes')
    step = {key: f'{1000 * value:.1f}' for key, value in seconds['step'].items()}
    parts = [f'{1000 * seconds[phase]["median"]:.1f}' if phase in seconds else '-' for phase in PHASES]
    gib = f'{memory / 2**30:.2f} GiB' if memory is not None else '-'
    ratio = f'{numbers["step_time_over_ours"]:.2f}' if 'step_time_over_ours' in numbers else '-'
    quartiles = f'{step["q1"]}-{step["q3"]}'
    return (
        f'{name:12s} {numbers["images_per_second"]:9.2f} {step["median"]:>8s}  {quartiles:>15s} {step["min"]:>8s} '
        f'{step["max"]:>8s}  '
        + ' '.join(f'{part:>9s}' for part in parts)
        + f' {numbers["mfu"]:6.1%} {gib:>9s} {ratio:>9s}'
    )


def run(args: argparse.Namespace) -> Optional[Dict[str, Any]]:
    """Measure and print; a process for one contender's memory prints only that."""
    from mmmim.analysis.contenders import OURS, check_peers, is_peer
    from mmmim.analysis.workload import default_batch, settle, synthetic_batch
    from mmmim.config.load import load_config
    from mmmim.engine.hardware import keep_freed_memory

    if not is_peer(args.memory_of) if args.memory_of else not args.own_processes:
        keep_freed_memory()
    cfg = load_config(args.config, args.cfg_options)
    device = torch.device(args.device)
    args.batch = default_batch(cfg, device) if args.batch is None else args.batch
    args.turn = args.turn or (10 if device.type == 'cuda' else 1)
    settle(cfg, args.batch, args.dtype)
    peers = [name.strip() for name in args.peers.split(',') if name.strip()]
    check_peers(peers if args.memory_of in (None, *peers) else [], cfg)
    torch.manual_seed(0)
    ours = cfg, synthetic_batch(cfg, args.batch)
    contenders = {name: ours for name in (OURS, *peers)}
    if args.against:
        other = load_config(args.against)
        settle(other, args.batch, args.dtype)
        contenders[args.against] = other, synthetic_batch(other, args.batch)
    if args.memory_of:
        peak = memory_of(args.memory_of, *contenders[args.memory_of], args, own_process=True)
        print(json.dumps(dict(peak_bytes=peak)))
        return None
    result = dict(facts(args), **measure(contenders, args))
    show(result)
    return result


def main() -> None:
    args = parse_args()
    from mmmim.engine.launch import USER_ERRORS, end_with

    try:
        if args.out:
            os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
        result = run(args)
    except USER_ERRORS as error:
        end_with(error, None)
    if args.out and result:
        with open(args.out, 'w') as file:
            json.dump(result, file, indent=1)


if __name__ == '__main__':
    main()
