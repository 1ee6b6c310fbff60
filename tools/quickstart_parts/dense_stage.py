"""A dense task: fine-tuned from the pre-trained encoder and from a random initialisation, measured, drawn."""

import importlib.util
import os
from pathlib import Path
from typing import Dict, NamedTuple, Tuple

from quickstart_parts.processes import Tools, say

from mmmim.checkpoint.newest import newest_checkpoint
from mmmim.engine.resume import is_finished
from mmmim.report.run_data import load_run
from mmmim.report.run_metrics import describe
from mmmim.report.tasks import STARTS

IMAGES = 6  # that are drawn


class Task(NamedTuple):
    """What is trained, on which part of the scenes, and what is measured."""

    name: str
    title: str
    data: str
    metrics: Tuple[str, ...]

    def require(self) -> None:
        """Raise ImportError, with the command that mends it, where the task's toolbox is missing."""
        toolbox = dict(segmentation='mmseg', detection='mmdet')[self.name]
        if importlib.util.find_spec(toolbox) is None:
            mode = 'detection' if self.name == 'detection' else 'run'
            raise ImportError(f'{self.name} needs {toolbox}, which is not installed: bash tools/setup_env.sh {mode}')


SEGMENTATION = Task('segmentation', 'segmentation (UperNet)', 'ade', ('mIoU',))
DETECTION = Task('detection', 'detection (Mask R-CNN)', 'coco', ('coco/bbox_mAP', 'coco/segm_mAP'))


def fine_tune(tools: Tools, task: Task, config: str, work_dir: Path) -> Dict[str, Dict[str, float]]:
    """Do what is not done yet of both trainings and the picture; returns what each start reached, by its name."""
    found, checkpoints = {}, []
    for start, where in STARTS.items():
        folder = work_dir / task.name / start
        done = is_finished(str(folder)) and newest_checkpoint(str(folder))
        say(f'      {where}' + (': done before' if done else ''))
        if not done:
            overrides = ['--cfg-options', 'pretrained=None'] if start == 'random' else []
            tools.run('tools/train.py', config, '--work-dir', str(folder), '--resume', *overrides)
        checkpoints.append(newest_checkpoint(str(folder)))
        tested = folder / 'evaluations' / f'{Path(checkpoints[-1]).stem}.json'
        if not reached(folder) and not tested.exists():  # stopped between the last iteration and its measurement
            tools.run('tools/test.py', config, checkpoints[-1], '--work-dir', str(folder))
        found[start] = reached(folder)
        say('      ' + ', '.join(f'{describe(name).title} {written(name, found[start])}' for name in task.metrics))
    picture = work_dir / task.name / 'predictions.png'
    if not picture.exists() or picture.stat().st_mtime < max(map(os.path.getmtime, checkpoints)):
        columns = [f'{where}={checkpoint}' for where, checkpoint in zip(STARTS.values(), checkpoints)]
        tools.run('tools/visualize/compare.py', config, *columns, '--out', str(picture), '--count', str(IMAGES))
    return found


def reached(folder: Path) -> Dict[str, float]:
    """What was measured after the last iteration, ``{}`` for nothing."""
    run = load_run(str(folder))
    rows = [row.metrics for row in run.evaluations if row.iter is not None and row.iter >= run.record['max_iters']]
    return rows[-1] if rows else {}


def written(name: str, metrics: Dict[str, float]) -> str:
    """A metric's value with its unit, or a dash: mmdet measures nothing where a detector finds nothing."""
    return describe(name).write(metrics[name]) if name in metrics else '–'
