"""The course of an examination: what is tried in which order, and what is told at the end."""

import argparse
import os
import platform
import sys
from typing import Any, Callable, Dict, List, Tuple

from . import distributions, machine, place, table
from .distributions import PARTS
from .findings import TOOLBOX_OF, Answer, Findings
from .machine import Gpu, Row
from .processes import Crew
from .remedies import Remedies

IMPORT_LIMIT, WORK_LIMIT = 120, 240  # seconds; a cold disk or a network disk is slow

# in the order of the table; the slowest is started first
WORKS = (
    'pre-training',
    'classification',
    'segmentation',
    'detection',
    'compiled ops',
    'GPU',
    'bf16',
    'compile',
    'several processes',
)
SLOWEST_FIRST = ('compile', 'pre-training', 'several processes', *WORKS)
NAMES = tuple(part.name for part in PARTS) + WORKS


def examine(argv: List[str], doc: str) -> int:
    """Run the checks and print what they found; returns the exit code."""
    args = parse(argv, doc)
    names = tuple(args.only or NAMES)
    remedies = Remedies(distributions.installed_versions(), distributions.pinned_versions())
    gpu = machine.find_gpu()
    crew = Crew(2 if machine.usable_cores() < 8 else 4, reporter(len({*names, 'torch'}), args.json))
    try:
        answers = ask(crew, names, remedies.installed, gpu)
    except KeyboardInterrupt:
        table.write('\nstopped', sys.stderr)
        return 130
    finally:
        crew.close()
        if sys.stderr.isatty():
            print('\033[K', end='', file=sys.stderr, flush=True)
    rows = machine.machine_rows(remedies, gpu) + judge(answers, names, remedies, gpu)
    works = {row.name: row.status in ('ok', 'note') for row in rows}
    if args.json:
        table.write(
            table.as_json(
                rows,
                python=sys.executable,
                version=platform.python_version(),
                pretraining_works=works.get('pre-training'),
            )
        )
    else:
        style = table.Style.of(sys.stdout)
        lines = table.lines_of(rows, style) + table.to_do(rows, style, to_do(rows, remedies))
        table.write('\n'.join(lines[1:]))
    return 0 if all(works[name] for name in (args.only or ['pre-training'])) else 1


def parse(argv: List[str], doc: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim doctor' if place.INSTALLED else None,
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--only', nargs='+', choices=NAMES, metavar='NAME', help=f'check only these: {", ".join(NAMES)}'
    )
    parser.add_argument('--json', action='store_true', help='print everything for a program to read')
    return parser.parse_args(argv)


def reporter(total: int, quiet: bool) -> Callable[[str], None]:
    """Counts the checks on a terminal."""
    done: List[str] = []

    def report(name: str) -> None:
        done.append(name)
        print(f'\r\033[Kchecked {len(done)} of {total}', end='\r', file=sys.stderr, flush=True)

    return report if sys.stderr.isatty() and not quiet else lambda name: None


def ask(crew: Crew, names: Tuple[str, ...], installed: Dict[str, str], gpu: Gpu) -> Dict[str, Answer]:
    """Try all that was asked for. Torch comes first: where it hangs or crashes, all that needs it would too."""
    free = [part for part in PARTS if part.name in names and not part.needs_torch and part.name != 'torch']
    torch = crew.start('part', IMPORT_LIMIT, module='torch')
    waiting = {part.name: crew.start('part', IMPORT_LIMIT, module=part.module) for part in free}
    answers = {'torch': torch.result()}
    if answers['torch']['ok']:
        for name in sorted(set(names) & set(WORKS), key=SLOWEST_FIRST.index):
            if name == 'GPU' and not (answers['torch']['available'] or gpu.present):
                answers[name] = dict(ok=True, available=False)
            else:
                waiting[name] = start_work(crew, name)
        for part in PARTS:
            if part.name in names and part.needs_torch:
                waiting[part.name] = crew.start('part', IMPORT_LIMIT, module=part.module)
    for name, future in waiting.items():
        answers[name] = future.result()
    for name in names:
        answers.setdefault(name, without_torch(name, installed))
    return answers


def start_work(crew: Crew, name: str) -> Any:
    if name in TOOLBOX_OF:
        return crew.start('toolbox model', WORK_LIMIT, task=name, module=TOOLBOX_OF[name])
    return crew.start(name, WORK_LIMIT)


def without_torch(name: str, installed: Dict[str, str]) -> Answer:
    """What is known of a check that was not tried."""
    part = next((part for part in PARTS if part.name == name), None)
    absent = part and not any(distribution in installed for distribution in part.distributions)
    return dict(ok=False, kind='needs', missing=part.module if absent else 'torch', error='needs torch')


def judge(answers: Dict[str, Answer], names: Tuple[str, ...], remedies: Remedies, gpu: Gpu) -> List[Row]:
    findings = Findings(remedies, gpu)
    rows = {part.name: findings.part(part, answers[part.name]) for part in PARTS if part.name in answers}
    for name in WORKS:
        if name in names:
            rows[name] = findings.work(name, answers[name], rows, answers['torch'])
    return [row for row in rows.values() if row.name in names]


def to_do(rows: List[Row], remedies: Remedies) -> List[Tuple[str, Tuple[str, ...]]]:
    """Titles and commands: what pre-training needs, then what is broken, then what could be added."""
    lacking = [
        row for row in rows if row.group == 'installed' and row.status == 'absent' and row.purpose == 'pre-training'
    ]
    items, bundled = [], None
    if len(lacking) > 1:
        bundled = (f'pre-training needs {", ".join(row.name for row in lacking)}', bundle(lacking, remedies))
        rows = [row for row in rows if row not in lacking and row.name != 'pre-training']
    order = {'broken': 1, 'note': 2, 'absent': 3}
    for row in sorted((row for row in rows if row.mend), key=lambda row: row.name != 'Python' and order[row.status]):
        title = (
            f'{row.name} is not installed ({row.detail})'
            if row.group == 'installed' and row.status == 'absent'
            else f'{row.name}: {row.detail}'
        )
        if row.mend not in [commands for _, commands in items]:
            items.append((title, row.mend))
    if bundled:  # after what is said of Python, since the commands are for the one that it names
        items.insert(len([title for title, _ in items if title.startswith('Python: ')]), bundled)
    return items


def bundle(lacking: List[Row], remedies: Remedies) -> Tuple[str, ...]:
    """One set of commands for several missing parts."""
    parts = [part for part in PARTS if part.name in {row.name for row in lacking}]
    names = [part.distributions[0] for part in parts]
    commands = []
    if place.CHECKOUT:
        setup = place.short(os.path.join(place.TOOLS, 'setup_env.sh'))
        commands.append(f'bash {setup}    # makes .venv with all of it; or, into this Python:')
    if 'torch' in names or 'torchvision' in names:
        commands.append(remedies.pip('torch', 'torchvision'))
    modules = [part.module for part in parts if part.module in distributions.FAMILIES]
    if modules:
        commands += remedies.toolboxes(*modules)
    others = [
        name
        for name in names
        if name not in ('torch', 'torchvision', 'mmmim')
        and not any(name in family for family in distributions.FAMILIES.values())
    ]
    if others:
        commands.append(remedies.pip(*others))
    if 'mmmim' in names:
        commands.append(remedies.mmmim())
    return tuple(commands)
