"""Test mmmim with several sets of versions, each in an environment of its own, and write the table of docs/versions.md.

python tools/test_versions.py [ROW ...]     # an environment takes 6 GB, in the folder for temporary files
python tools/test_versions.py --resolve     # other Pythons: whether their versions resolve; needs uv (pip install uv)
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, NamedTuple, Tuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs/versions.md'
SHOWN = ('torch', 'torchvision', 'timm', 'numpy', 'opencv-python', 'transformers', 'onedl-mmdetection')
CORE = ('runtime.txt', 'openmmlab.txt', 'optional.txt', 'export.txt', 'tests.txt')
PYTHONS = ('3.10', '3.12', '3.13')


class Row(NamedTuple):
    """A set of versions.

    Attributes:
        constraints: File in requirements/ with the versions.
        requirements: Files in requirements/ that are installed.
        tests: What pytest is told to run.
    """

    constraints: str
    requirements: Tuple[str, ...] = (*CORE, 'detection.txt')
    tests: str = 'not slow and not runs'


ROWS = {
    'default': Row('constraints.txt', tests='not slow'),
    'torch-2.11': Row('tested/torch-2.11.txt'),
    'newest': Row('tested/newest.txt', CORE),
}


def requirements_of(row: Row) -> List[str]:
    """What is required; the versions alone decide which release of transformers."""
    text = '\n'.join((ROOT / 'requirements' / name).read_text() for name in row.requirements)
    lines = [line for line in text.splitlines() if line and not line.startswith(('#', '-r '))]
    return [re.sub(r'^transformers\b.*', 'transformers', line) for line in lines]


def pins_of(row: Row) -> List[str]:
    """``NAME VERSION`` of the distributions that the page shows."""
    lines = (ROOT / 'requirements' / row.constraints).read_text().splitlines()
    pins = dict(line.partition(';')[0].strip().split('==') for line in lines if '==' in line)
    has_detection = 'detection.txt' in row.requirements
    return [f'{name} {pins[name]}' for name in SHOWN if name in pins and (has_detection or 'mmdet' not in name)]


def run(name: str) -> str:
    """Make the environment of a row and run its tests; returns what pytest says in the end."""
    row = ROWS[name]
    with tempfile.TemporaryDirectory(prefix='mmmim-versions-') as folder:
        python = f'{folder}/venv/bin/python'
        wanted = Path(folder) / 'requirements.txt'
        wanted.write_text('\n'.join(requirements_of(row)))
        pip = [python, '-m', 'pip', 'install', '-q', '-c', str(ROOT / 'requirements' / row.constraints)]
        for command in (
            [sys.executable, '-m', 'venv', f'{folder}/venv'],
            [*pip, 'torch', 'torchvision'],
            [*pip, '--no-cache-dir', '--no-deps', 'onedl-mmcv'],
            [*pip, '-r', str(wanted)],
            [python, '-m', 'pip', 'install', '-q', '--no-deps', '--no-build-isolation', '-e', str(ROOT)],
        ):
            subprocess.run(command, check=True)
        tests = [
            python,
            '-m',
            'pytest',
            '-q',
            '-n',
            '2',
            '--dist',
            'loadfile',
            '--no-loadscope-reorder',
            '-m',
            row.tests,
        ]
        done = subprocess.run(tests, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout)
    said = done.stdout.strip().splitlines()[-1].strip('= ')
    said = re.sub(r', \d+ warnings?| in [\d.]+s.*', '', said)
    files = dict.fromkeys(re.findall(r'^(?:FAILED|ERROR) (\S+?\.py)', done.stdout, re.MULTILINE))
    return said + (f', in {", ".join(files)}' if files else '')


def resolve(python: str) -> str:
    """Whether all files in requirements/ resolve for another Python with the tested versions, from wheels."""
    row = ROWS['default']
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / 'requirements.in'
        wanted.write_text('\n'.join(requirements_of(row)))
        command = ['uv', 'pip', 'compile', '-q', str(wanted), '-c', str(ROOT / 'requirements' / row.constraints)]
        command += ['--python-version', python, '--python-platform', 'linux', '--only-binary', ':all:']
        for name in ('mmengine', 'mmcv', 'mmpretrain', 'mmsegmentation', 'mmdetection'):  # have sources alone
            command += ['--no-binary', f'onedl-{name}']
        done = subprocess.run(command, capture_output=True, text=True)
    return 'resolved, not run' if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def write(name: str, python: str, pins: List[str], said: str) -> None:
    """Put a row into the page's table, in the place of the one with its name and Python."""
    start = f'| {name} | {python} |'
    line = f'{start} {", ".join(pins)} | {said} |'
    before, head, rows, after = re.split(r'(\| set .*\n\| ---.*\n)((?:\|.*\n)*)', PAGE.read_text())
    kept = [old for old in rows.splitlines() if not old.startswith(start)]
    names = [f'| {other} ' for other in ROWS]
    table = sorted([*kept, line], key=lambda row: ([*map(row.startswith, names)].index(True), 'resolved' in row, row))
    PAGE.write_text(before + head + '\n'.join(table) + '\n' + after)
    print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rows', nargs='*', metavar='ROW', help=f'of {", ".join(ROWS)} (default: all)')
    parser.add_argument('--resolve', action='store_true', help='resolve for other Pythons instead')
    args = parser.parse_args()
    unknown = set(args.rows) - set(ROWS)
    if unknown:
        parser.error(f'there is no row {", ".join(sorted(unknown))}; there are {", ".join(ROWS)}')
    if args.resolve:
        for python in PYTHONS:
            write('default', python, pins_of(ROWS['default']), resolve(python))
        return
    for name in args.rows or ROWS:
        write(name, '%d.%d' % sys.version_info[:2], pins_of(ROWS[name]), run(name))


if __name__ == '__main__':
    main()
