"""What tools/quickstart.sh does once the environment is there: measure, pre-train, measure again, compare."""
import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import numpy as np
from mmengine.config import Config

from mmmim.checkpoint import atomic_write_text
from mmmim.datasets.file_list import list_images

ROOT = Path(__file__).resolve().parent.parent
CONFIG = 'configs/quickstart/vit-tiny.py'
MOST_HELD_OUT, LARGEST_BANK = 1000, 2000
EXIT_ASKED_TO_STOP = 75  # of tools/train.py, after it has saved


# ---- a config for the user's folder ----

def labels_of(files: List[str]) -> Optional[List[int]]:
    """The place of each image's class folder; None where images have no classes."""
    names = [file.partition('/')[0] if '/' in file else '' for file in files]
    classes = sorted(set(names))
    return [classes.index(name) for name in names] if len(classes) > 1 and '' not in classes else None


class Split:
    """Which images are for training and which are held out."""

    def __init__(self, folder: str) -> None:
        train, *held_out = [os.path.join(folder, part) for part in ('train', 'val', 'valid', 'validation', 'test')]
        held_out = next(filter(os.path.isdir, held_out), None)
        if os.path.isdir(train) and held_out:
            self.roots = [train, held_out]
            self.files = [list_images(root) for root in self.roots]
            for root, files in zip(self.roots, self.files):
                if not files:
                    sys.exit(f'quickstart: there are no images under {root}')
            self.labels = [labels_of(files) for files in self.files]
            classes = [{file.partition('/')[0] for file in files} for files in self.files]
            if None in self.labels or classes[0] != classes[1]:
                self.labels = [None, None]
            self.note = f'its train/ and {os.path.basename(held_out)}/ are used as they are'
        else:
            folder = train if os.path.isdir(train) else folder
            self.roots = [folder, folder]
            self._hold_out(folder)

    def _hold_out(self, folder: str) -> None:
        files = list_images(folder)
        labels = labels_of(files)
        order = np.random.default_rng(0).permutation(len(files)).tolist()
        held_out = min(len(files) // 5, MOST_HELD_OUT)
        if len(files) < 10:
            held_out = 0
        parts = [sorted(order[held_out:]), sorted(order[:held_out] or order)]
        self.files = [[files[i] for i in part] for part in parts]
        self.labels = [labels and [labels[i] for i in part] for part in parts] if held_out else [None, None]
        self.note = (f'{held_out} images drawn from it are held out for measuring' if held_out else
                     'so few images serve for training and for measuring: nothing is held out')

    def cut(self, place: int, most: int) -> None:
        """Keep a random draw of ``most`` images of a part."""
        count = len(self.files[place])
        if count > most:
            kept = sorted(np.random.default_rng(1).permutation(count)[:most].tolist())
            self.files[place] = [self.files[place][i] for i in kept]
            self.labels[place] = self.labels[place] and [self.labels[place][i] for i in kept]
            self.note += f'; of {count} {("training", "held-out")[place]} images {most} are drawn'

    def write_lists(self, work_dir: Path) -> List[str]:
        """Annotation files, one image a line."""
        paths = []
        for name, files, labels in zip(('train', 'held_out'), self.files, self.labels):
            lines = files if labels is None else [f'{file} {label}' for file, label in zip(files, labels)]
            path = work_dir / f'{name}.txt'
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(str(path), ''.join(f'{line}\n' for line in lines))
            paths.append(str(path))
        return paths


def name_for(folder: str) -> str:
    """``quickstart_<name>``, which stays the same for the same folder; others of that name get a suffix."""
    name = 'quickstart_' + (re.sub(r'[^A-Za-z0-9-]+', '_', os.path.basename(folder)).strip('_') or 'images')
    path = ROOT / 'work_dirs' / f'{name}.py'
    if path.exists() and f'data_root = {folder!r}\n' not in path.read_text():
        name += '_' + hashlib.sha256(os.fsencode(folder)).hexdigest()[:6]
    return name


def write_config(folder: str) -> Tuple[str, Path]:
    """A config that inherits the quickstart's and reads ``folder``: ``(its path, the work dir)``."""
    base = Config.fromfile(str(ROOT / CONFIG))
    iterations = base.max_epochs * (1000 // base.total_batch_size)  # as many steps as on the generated set
    split = Split(folder)
    split.cut(0, iterations * base.total_batch_size)
    split.cut(1, MOST_HELD_OUT)
    count = len(split.files[0])
    batch = min(base.total_batch_size, 1 << (count.bit_length() - 1))
    epochs = max(1, round(iterations / (count // batch)))
    warmup = epochs * base.warmup_epochs / base.max_epochs
    name = name_for(folder)
    work_dir = ROOT / 'work_dirs' / name
    lists = split.write_lists(work_dir)
    parts = [f'data_root={root!r}, ann_file={path!r}' for root, path in zip(split.roots, lists)]
    if split.labels[0] is None:
        features = 'feature_eval = None  # without class folders there is nothing to classify'
    else:
        features = (f'feature_eval = dict(\n    bank=dict({parts[0]}),\n    query=dict({parts[1]}),\n'
                    f'    bank_share={min(1.0, LARGEST_BANK / count):.6f})')
    text = f'''"""Written by tools/quickstart.sh for a folder: {split.note}.

    python tools/train.py work_dirs/{name}.py --work-dir work_dirs/{name} --resume
"""
_base_ = '../{CONFIG}'
data_root = {folder!r}
total_batch_size = {batch}
max_epochs = {epochs}
warmup_epochs = {warmup:g}
train_dataloader = dict(dataset=dict({parts[0]}))
test_dataloader = dict(dataset=dict({parts[1]}))
{features}
default_hooks = dict(checkpoint=dict(interval={max(1, epochs // 4)}))
'''
    path = ROOT / 'work_dirs' / f'{name}.py'
    atomic_write_text(str(path), text)
    say(f'{folder}: {count} images for training, {len(split.files[1])} for measuring; {split.note}')
    if split.labels[0] is None:
        say('no class folders: the reconstruction loss is measured, and no k-NN accuracy')
    return f'work_dirs/{name}.py', work_dir


# ---- running the tools ----

def say(message: str) -> None:
    print(f'[quickstart] {message}', flush=True)


def run_tool(arguments: List[str], show_progress: bool = False) -> None:
    """Run one of our tools, with the essence of its output; ends this process if it fails."""
    process = subprocess.Popen([sys.executable, '-u', *arguments], cwd=ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors='replace', start_new_session=True)
    stopped = []

    def stop(signum: int, frame: object) -> None:  # training answers SIGTERM by saving
        stopped.append(signum)
        process.send_signal(signal.SIGTERM)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, stop)
    last_lines: List[str] = []
    shown = 0.0
    for line in process.stdout:
        last_lines = last_lines[-29:] + [line]
        progress = re.search(r'Epoch\(train\)\s*\[(\d+)\].*eta: ([\d:, days]+?)\s+time.*\bloss: ([\d.]+)', line)
        if show_progress and progress and time.monotonic() - shown > 10:
            say('epoch {}, loss {}, {} to go'.format(progress[1], progress[3], progress[2]))
            shown = time.monotonic()
    code = process.wait()
    if stopped:
        say('stopped' + (' and saved' if code == EXIT_ASKED_TO_STOP else '') + '; the same command continues')
        sys.exit(128 + stopped[0])
    if code:
        # an error of the user's is one line after many; anything else is shown with what led to it
        sys.exit(''.join(last_lines) + f'[quickstart] {" ".join(arguments[:2])} failed with exit code {code}')


class State:
    """What is known about the run in a work dir, kept in its ``quickstart.json``."""

    def __init__(self, work_dir: Path, settings: str) -> None:
        self.path = work_dir / 'quickstart.json'
        self.values: Dict = json.loads(self.path.read_text()) if self.path.exists() else {}
        if self.values.setdefault('settings', settings) != settings:
            sys.exit(f'quickstart: {work_dir.relative_to(ROOT)} holds a run with other settings or other images. '
                     f'Keep it under another name, or remove it (rm -r {work_dir}), then run this again')

    def put(self, key: str, value: object) -> None:
        self.values[key] = value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(str(self.path), json.dumps(self.values, indent=1))


def measure(state: State, name: str, config: str, checkpoint: Optional[str], work_dir: Path,
            options: List[str]) -> None:
    """Fill ``state.values[name]``, unless it holds the numbers of this checkpoint."""
    if state.values.get(name, {}).get('checkpoint') == (checkpoint or 'random initialisation'):
        return
    say('measuring ' + ('the pre-trained encoder' if checkpoint else 'the random initialisation'))
    result = work_dir / f'{name}.json'
    run_tool(['tools/test.py', config, *([checkpoint] if checkpoint else []), '--work-dir', str(work_dir / 'measure'),
              '--out', str(result), *options])
    state.put(name, json.loads(result.read_text()))


def speed(work_dir: Path) -> Optional[Tuple[float, float]]:
    """Minutes of training, and seconds an iteration, from the logs of all calls."""
    times = []
    for path in work_dir.glob('2*/vis_data/scalars.json'):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        times += [record['time'] for record in records if 'loss' in record and 'time' in record]
    curve = work_dir / 'curve.jsonl'
    if not times or not curve.exists():
        return None
    steps = sum('loss' in json.loads(line) for line in curve.read_text().splitlines())
    return steps * float(np.mean(times)) / 60, float(np.mean(times))


# ---- the report ----

def table(before: Dict, after: Dict) -> str:
    rows = [('', 'random initialisation', 'after pre-training')]
    for key, label, form in (('held_out/recon_loss', 'reconstruction loss, held out', '{:.4f}'),
                             ('knn/top1_k20', 'k-NN accuracy (k = 20), held out', '{:.1f}%'),
                             ('linear/top1', 'linear probe, held out', '{:.1f}%')):
        if key in before and key in after:
            rows.append((label, form.format(before[key]), form.format(after[key])))
    return '\n'.join(f'  {label:34s}{first:>22s}{second:>22s}' for label, first, second in rows)


def report(state: State, config: str, work_dir: Path, checkpoint: str, batch: int) -> None:
    here = os.path.relpath(work_dir, ROOT)
    print('\n' + table(state.values['init'], state.values['final']) + '\n')
    timing = speed(work_dir)
    if timing:
        print(f'  pre-training {timing[0]:.1f} minutes, {batch / timing[1]:.0f} images a second')
    checkpoint = os.path.relpath(checkpoint, ROOT)
    print(f'''  checkpoint   {checkpoint}
  encoder      {here}/encoder.safetensors (timm's parameter names)
  curve        {here}/curve.jsonl, one line an iteration

  What next:
    your own images      bash tools/quickstart.sh /path/to/images
    longer               .venv/bin/python tools/train.py {config} --work-dir work_dirs/longer --resume \\
                             --cfg-options max_epochs={10 * Config.fromfile(str(ROOT / config)).max_epochs}
    the real recipes     configs/mae/''')
    bad = work_dir / 'bad_images.txt'
    if bad.exists():
        print(f'\n  files that could not be read: {len(bad.read_text().splitlines())}, listed in {here}/{bad.name}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--folder', help='images (default: data/scenes)')
    parser.add_argument('options', nargs='*', metavar='key=value')
    args = parser.parse_args()
    config, work_dir = write_config(args.folder) if args.folder else (CONFIG, ROOT / 'work_dirs/quickstart')
    options = ['--cfg-options', *args.options] if args.options else []
    content = Config.fromfile(str(ROOT / config)).pretty_text + '\n'.join(sorted(args.options))
    lists = [work_dir / 'train.txt', work_dir / 'held_out.txt']
    content += ''.join(path.read_text() for path in lists if path.exists())
    state = State(work_dir, hashlib.sha256(content.encode()).hexdigest())

    measure(state, 'init', config, None, work_dir, options)
    if not (state.values.get('trained') and os.path.exists(state.values['trained'])):
        say('pre-training; Ctrl-C saves and stops, the same command continues')
        run_tool(['tools/train.py', config, '--work-dir', str(work_dir), '--resume', *options], show_progress=True)
        state.put('trained', (work_dir / 'last_checkpoint').read_text().strip())
    checkpoint = state.values['trained']
    measure(state, 'final', config, checkpoint, work_dir, options)
    batch = next((int(o.split('=', 1)[1]) for o in args.options if o.startswith('total_batch_size=')), None)
    report(state, config, work_dir, checkpoint, batch or Config.fromfile(str(ROOT / config)).total_batch_size)


if __name__ == '__main__':
    main()
