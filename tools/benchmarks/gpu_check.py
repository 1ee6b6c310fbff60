"""Run what only a GPU can show, a stage after the other, and write the page of the last result.

    tools/benchmarks/gpu_check.sh [--minutes 10] [--only STAGE ...] [--out FILE.json] [--page docs/gpu.md] [--cpu]

Each stage (gpu_stages.py) has a process of its own and a time limit; where one fails, the others go on. A stage that
lacks something, or that the minutes have no room for, is left out, and the result says why. Images are generated;
nothing is fetched. Exit code: 0 all stages passed, 1 one failed, 3 none failed and some were left out.
"""

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Optional

import torch

from gpu_stages import LEFT_OUT, ROOT, STAGES
from mmmim.checkpoint import atomic_write_text
from mmmim.engine.hardware import hardware, versions
from script import make_parser

SCRIPT = ROOT / 'tools/benchmarks/gpu_stages.py'
PASSED, FAILED, OUT = 'passed', 'failed', 'left out'
LIMIT = 3  # times the seconds that a stage is expected to need
INTRODUCTION = """# On a GPU

Every test runs on CPUs; what only a GPU can show is run by one command of at most ten minutes, which writes this page:
the tests marked `gpu`; 20 steps of each method in bf16, plain and compiled, in which nothing waits for the device;
a process of NCCL; MAE's steps at 224 px; a run killed and resumed; JPEGs decoded by the device; fine-tuning.

    tools/benchmarks/gpu_check.sh

"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('--cpu', action='store_true', help='dry run on the CPU: tiny models, two steps, no page')
    parser.add_argument('--minutes', type=float, default=10, help='for all stages; what does not fit is left out')
    parser.add_argument('--only', nargs='+', choices=STAGES, metavar='STAGE', help=', '.join(STAGES))
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs/gpu_check.json', help='JSON of all results')
    parser.add_argument('--page', type=Path, default=ROOT / 'docs/gpu.md', help='written when all of it ran on a GPU')
    args = parser.parse_args()
    if not args.minutes > 0:
        parser.error(f'--minutes {args.minutes:g} must be above 0')
    if not args.cpu and not torch.cuda.is_available():
        parser.error('torch finds no GPU here; --cpu makes a dry run')
    return args


def run_stage(name: str, remaining: float, cpu: bool) -> Dict[str, Any]:
    """What a stage's process found: ``result``, ``detail``, ``seconds`` and numbers."""
    stage = STAGES[name]
    if remaining < stage.seconds:
        return dict(
            result=OUT, detail=f'needs up to {stage.seconds} s, and {max(remaining, 0):.0f} s were left', seconds=0
        )
    start, limit = time.monotonic(), remaining if cpu else min(remaining, LIMIT * stage.seconds)
    env = {**os.environ, **({'CUDA_VISIBLE_DEVICES': ''} if cpu else {})}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(SCRIPT), name, folder]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        process = subprocess.Popen(command, env=env, **pipes)
        try:
            printed, errors = process.communicate(timeout=limit)
            found = read_result(process.returncode, printed, errors)
        except subprocess.TimeoutExpired:
            found = dict(result=FAILED, detail=f'not done after {limit:.0f} s')
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            except ProcessLookupError:  # all have ended
                pass
            process.communicate()
    detail = ' '.join(found['detail'].split())[:500]  # a line for the table
    return dict(found, detail=detail, seconds=time.monotonic() - start)


def read_result(code: int, printed: str, errors: str) -> Dict[str, Any]:
    """From the line of JSON that a stage printed last; one that a signal ended printed none."""
    last = (printed.strip().splitlines() or [''])[-1]
    found = json.loads(last) if last.startswith('{') else dict(detail=f'ended with {code}')
    result = {0: PASSED, LEFT_OUT: OUT}.get(code, FAILED)
    return dict(found, result=result, **(dict(log=errors[-8000:]) if result == FAILED else {}))


def commit() -> str:
    """Of the checkout, with a mark where it was edited."""
    command = ['git', '-C', str(ROOT), 'describe', '--always', '--dirty', '--exclude', '*']
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def make_page(result: Optional[Dict[str, Any]]) -> str:
    """The page of a result; None: it never ran on a GPU."""
    if result is None:
        return f'{INTRODUCTION}Last run: *never*.\n'
    software = ', '.join(f'{name} {version}' for name, version in result['versions'].items())
    lines = [
        f'Last run: {result["hardware"]["gpu"]}, {result["date"]}, commit {result["commit"]}; {software}, CUDA '
        f"{result['cuda']}. MFU: FLOPs of the model at the measured rate, over the peak in the device's data sheet.",
        '',
        '| stage | result | seconds | what came |',
        '| --- | --- | --- | --- |',
    ]
    for name, found in result['stages'].items():
        detail = found['detail'].replace('|', '\\|')
        lines.append(f'| {name} | {found["result"]} | {found["seconds"]:.0f} | {detail} |')
    return INTRODUCTION + '\n'.join(lines) + '\n'


def main() -> int:
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the stage that runs, too
    end = time.monotonic() + 60 * args.minutes
    result: Dict[str, Any] = dict(
        date=datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d'),
        **dict(commit=commit(), dry_run=args.cpu, cuda=torch.version.cuda),
        **dict(hardware=hardware(), versions=versions(), stages={}),
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for name in args.only or STAGES:
        found = result['stages'][name] = run_stage(name, end - time.monotonic(), args.cpu)
        print(f'{name:24s} {found["result"]:9s} {found["seconds"]:5.0f} s  {found["detail"]}', flush=True)
        atomic_write_text(str(args.out), json.dumps(result, indent=1))  # at once: the next may take the machine down
    if not args.cpu and not args.only:
        atomic_write_text(str(args.page), make_page(result))
    results = {found['result'] for found in result['stages'].values()}
    return 1 if FAILED in results else 3 if OUT in results else 0


if __name__ == '__main__':
    sys.exit(main())
