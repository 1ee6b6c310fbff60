"""Run the checks of `mmmim doctor`: probes in separate processes, then the table and the commands that fix things."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import __doc__ as ABOUT
from .findings import NOT_TRIED, Answer, Findings, Remedies, setup
from .installed import BY_NAME, CHECKOUT, CONFIGS, PARTS, Row, installed_versions, pinned_versions
from .machine import find_gpu, machine_rows, usable_cores

WORKS = 'pre-training', 'compile', 'several processes', 'detection', 'GPU'
NAMES = (*BY_NAME, *WORKS)
TITLES = dict(machine='This machine', installed='Installed          version      tested', works='What works')
PROBES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'probes.py')

alive: set[subprocess.Popen] = set()


def examine(argv: list[str]) -> int:
    """Run the checks and print what they found; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog='mmmim doctor', description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--only', nargs='+', choices=NAMES, metavar='NAME', help=f'of: {", ".join(NAMES)}')
    parser.add_argument('--json', action='store_true', help='print everything for a program to read')
    args = parser.parse_args(argv)
    sys.stdout.reconfigure(errors='replace')  # an error message may hold what the terminal cannot show
    names, remedies = args.only or NAMES, Remedies(installed_versions(), pinned_versions())
    found_gpu = find_gpu()
    findings = Findings(remedies, found_gpu)
    with ThreadPoolExecutor(2 if usable_cores() < 8 else 4) as pool:
        try:
            answers = ask(pool, names)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(alive):
                end_group(process)
            return 130
    tried = [findings.part(part, answers[part.name]) for part in PARTS if part.name in answers]
    tried += [findings.work(name, answers[name], answers['torch']) for name in WORKS if name in names]
    rows = machine_rows(remedies, len(found_gpu.names)) + [row for row in tried if row.name in names]
    works = {row.name: row.status in ('ok', 'note') for row in rows}
    if args.json:
        found = dict(python=sys.executable, pretraining_works=works.get('pre-training'))
        print(json.dumps(dict(found, rows=[row._asdict() for row in rows]), indent=1))
    else:
        width = max(70, min(shutil.get_terminal_size().columns, 110))
        print('\n'.join(lines_of(rows, width) + to_do(what_to_do(rows, remedies), width)))
    return 0 if all(works[name] for name in args.only or ['pre-training']) else 1


def ask(pool: ThreadPoolExecutor, names: tuple[str, ...]) -> dict[str, Answer]:
    """Run the requested probes. Torch comes first: if it hangs or crashes, all that need it would, too."""

    def start(name: str) -> 'Future[Answer]':
        return pool.submit(run, name, 240, module=BY_NAME[name].imported if name in BY_NAME else '')

    early = {part.name for part in PARTS if not part.needs_torch}.intersection(names) | {'torch'}
    waiting = {name: start(name) for name in sorted(early, key='torch'.__ne__)}
    if waiting['torch'].result()['ok']:
        waiting.update({name: start(name) for name in (*WORKS, *BY_NAME) if name in names and name not in early})
    return dict.fromkeys(names, NOT_TRIED) | {name: future.result() for name, future in waiting.items()}


def what_to_do(rows: list[Row], remedies: Remedies) -> list[tuple[str, tuple[str, ...]]]:
    """Titles and commands: first requirements of pre-training, then broken parts, then optional ones."""
    needed = [row.name for row in rows if row.status == 'absent' and row.detail.endswith('for pre-training')]
    commands = remedies.install(*(BY_NAME[name].module for name in needed))
    if CHECKOUT and os.path.realpath(sys.prefix) != os.path.realpath(os.path.join(CHECKOUT, '.venv')):
        commands.insert(0, f'{setup()}; or, into this Python:')
    items = {tuple(commands): f'pre-training needs {", ".join(needed)}'} if needed else {}
    for status in ('broken', 'note', 'absent'):
        for row in rows:
            if row.mend and row.status == status and row.name not in needed:
                items.setdefault(row.mend, f'{row.name}: {row.detail}')
    return [(title, commands) for commands, title in items.items()]


def run(probe: str, timeout: float, **context: Any) -> Answer:
    """Run a probe and return its answer, even if its process crashes or hangs."""
    try:
        with tempfile.TemporaryDirectory(prefix='mmmim_doctor_', ignore_cleanup_errors=True) as folder:
            path, words = Path(folder, 'answer.json'), Path(folder, 'words.txt')
            context.update(folder=folder, configs=CONFIGS, checkout=CHECKOUT)
            command = [sys.executable, PROBES, probe, str(path), json.dumps(context)]
            # tiny models gain nothing from threads, and several run at once
            env = dict(OMP_NUM_THREADS='1', PYTHONFAULTHANDLER='1', TORCHINDUCTOR_CACHE_DIR=folder) | os.environ
            with open(words, 'wb') as out:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
                )
            alive.add(process)
            try:
                code = process.wait(timeout)
                kind = signal.Signals(-code).name if code < 0 else 'exit'
                ended = dict(ok=False, kind=kind, error=f'its process ended with {kind if code < 0 else code}')
                answer = ended if code else json.loads(path.read_text(encoding='utf-8'))
            except subprocess.TimeoutExpired:
                answer = dict(ok=False, kind='hang', error=f'no answer within {timeout:.0f} s')
            finally:
                end_group(process)  # also processes that it left running
                alive.discard(process)
            if not answer['ok']:
                said = words.read_text(encoding='utf-8', errors='replace')[-6000:]
                answer['trace'] = (answer.get('trace', '') + '\n' + said).strip()
            return answer
    except (OSError, ValueError) as error:  # a full disk, no more processes, no answer
        return dict(ok=False, kind='OSError', error=f'could not be tried: {error}', trace='')


def end_group(process: subprocess.Popen) -> None:
    """Kill a process and its children; it leads its own process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def lines_of(rows: list[Row], width: int) -> list[str]:
    lines: list[str] = []
    for group, title in TITLES.items():
        members = [row for row in rows if row.group == group]
        lines += ['', f'        {title}'] if members else []
        for row in members:
            versions = f'{row.installed or "-":12s} {row.tested or "-":10s} ' if group == 'installed' else ''
            lines += wrapped(f'{row.status:7s} {row.name:18s} {versions}', row.detail, width)
    return lines


def wrapped(head: str, text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, max(20, width - len(head))) or ['']
    return [f'{head}{lines[0]}'.rstrip(), *(' ' * len(head) + line for line in lines[1:])]


def to_do(items: list[tuple[str, tuple[str, ...]]], width: int) -> list[str]:
    """Numbered items with their commands, which are never wrapped, so that they can be copied."""
    lines = ['', 'What to do'] if items else []
    for number, (title, commands) in enumerate(items, 1):
        lines += wrapped(f'{number:2d}. ', title, width) + [f'      {command}' for command in commands]
    return lines
