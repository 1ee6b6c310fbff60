"""The stages of a classifier: a frozen head, then training, of the last blocks and of all; each has its own folder."""

import glob
import os
import os.path as osp
import shutil
import time
from contextlib import suppress
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config

from ...checkpoint.read import load_file
from ...checkpoint.write import atomic_save
from ...config.paths import relative_to_here
from ...config.write import Choice
from ...engine.resume import is_finished
from ...evaluation.label_metrics import Measured, measure
from ...visualization.predictions import build_trained
from ..folder_split import write_if_changed
from ..plan import default_hours
from ..pretrain import train_quietly
from ..speed import check_settings, timed_epochs
from ..trained import CONFIG, MODEL
from .frozen_head import FrozenHead
from .outputs import Outputs, Scores
from .page import MISTAKES
from .recipe import Plan, last_blocks, recipe_for
from .request import Stage

CONFIG_NAME = 'finetune.py'
FROZEN, LAST, FULL = 'frozen', 'last blocks', 'full'
FOLDERS = {FROZEN: 'frozen', LAST: 'last-blocks', FULL: 'full'}
START = 'start.pth'  # what training begins with: the network with the regression of its output
MOST_TIMES = 5  # the recipe's epochs, at most, where a time was given


def kept_already(out: str, name: str) -> bool:
    """Whether a stage's model is complete."""
    folder = osp.join(out, FOLDERS[name])
    return all(osp.isfile(osp.join(folder, file)) for file in (MODEL, CONFIG))


def save_classifier(plan: Plan, state: Dict[str, Any], out: str, name: str, blocks: Optional[int] = 0) -> None:
    """Write ``model.pth`` and ``model.py`` of a stage: all weights, and the config that belongs to them."""
    folder = osp.join(out, FOLDERS[name])
    os.makedirs(folder, exist_ok=True)
    model, config = osp.join(folder, MODEL), osp.join(folder, CONFIG)
    title = f'The classifier that was kept ({name}), of {len(plan.labels.split.classes)} classes.'
    line = f'mmmim test {osp.join(out, CONFIG)} {osp.join(out, MODEL)}'
    if not {'selection', 'report'} & set(plan.lists):
        line = 'There is nothing to test it on: all images were fitted on, and its number is of cross-validation.'
    length = Choice(recipe_for(plan.start).epochs, '')
    write_if_changed(config, plan.text(title, line, length, blocks, osp.join(out, MODEL)))
    atomic_save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=plan.labels.split.classes))), model)


def save_frozen(best: FrozenHead, output: FrozenHead, plan: Plan, out: str) -> None:
    """The frozen classifier, and ``start.pth``, which training begins with."""
    os.makedirs(osp.join(out, FOLDERS[FROZEN]), exist_ok=True)
    atomic_save(dict(state_dict=output.state(), meta={}), osp.join(out, FOLDERS[FROZEN], START))
    save_classifier(plan._replace(start=best.start), best.state(), out, FROZEN)


def keep(out: str, name: str) -> None:
    """Make a stage's model that of the folder."""
    for file in (MISTAKES, CONFIG, MODEL):
        source, target = osp.join(out, FOLDERS[name], file), osp.join(out, file)
        put(source, target, link=file != CONFIG)  # a config may be edited, and the stage's stays


def put(source: str, target: str, link: bool = True) -> None:
    """A file under another name, as a link (or a copy) where the disk has them, in one step."""
    if link and osp.exists(target) and osp.samefile(source, target):
        return
    temporary = f'{target}.{os.getpid()}.tmp'
    with suppress(FileNotFoundError):
        os.remove(temporary)
    try:
        (os.link if link else shutil.copyfile)(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


class Training(NamedTuple):
    """What a stage of training measured."""

    stage: Stage
    selection: Measured
    report: Optional[Measured]


def write_training(plan: Plan, out: str, name: str) -> str:
    """Write the config of a stage, its length by the time that some steps take; returns its path.

    One that is there is kept: it is what its work dir was trained by.
    """
    blocks = last_blocks(plan.start) if name == LAST else None
    path = osp.join(out, CONFIG_NAME if name == FULL else 'last_blocks.py')
    if osp.isfile(path):
        return path
    request, recipe = plan.request, recipe_for(plan.start)
    begin = osp.join(out, FOLDERS[FROZEN], START)
    work_dir = osp.join(out, FOLDERS[name])
    title = f'{"The last blocks" if name == LAST else "All"} of {plan.start.name}, trained to classify {_data(plan)}.'
    line = f'mmmim train {path} --work-dir {work_dir} --resume'

    def text(epochs: Choice) -> str:
        return plan.text(title, line, epochs, blocks, begin)

    if request.epochs is not None:
        epochs = Choice(request.epochs, 'as asked for')
    else:
        timed = timed_epochs(text(Choice(1, '')), plan.images_an_epoch, request.hours or default_hours())
        most = recipe.epochs * (1 if request.hours is None else MOST_TIMES)
        reason = timed.reason if timed.value <= most else f'more than these teach little; {_speed(timed.reason)}'
        epochs = Choice(min(timed.value, most), reason)
    check_settings(text(epochs))
    print(f'{name}: {epochs.value} epochs ({epochs.reason})', flush=True)
    write_if_changed(path, text(epochs))
    return path


def _data(plan: Plan) -> str:
    return f'{len(plan.labels.split.fit)} images of {len(plan.labels.split.classes)} classes'


def _speed(reason: str) -> str:
    return reason.partition(':')[0]


def train_stage(plan: Plan, out: str, name: str, files: Sequence[str]) -> Training:
    """Train a stage, or go on with it, and measure its best checkpoint.

    Args:
        plan: What it is made of.
        out: The folder of all stages.
        name: ``'last blocks'`` or ``'full'``.
        files: All images that can be read.
    """
    began = time.perf_counter()
    config, work_dir = write_training(plan, out, name), osp.join(out, FOLDERS[name])
    if not is_finished(work_dir):
        _check_room(work_dir, osp.join(out, FOLDERS[FROZEN], START))
        try:
            train_quietly(config, work_dir, given=_loading(plan.request.workers))
        except SystemExit as stopped:  # asked to stop, and saved
            raise KeyboardInterrupt(f'stopped and saved in {out}; the same call continues') from stopped
    state = load_file(best_checkpoint(work_dir), map_location='cpu')['state_dict']
    save_classifier(plan, state, out, name, last_blocks(plan.start) if name == LAST else None)
    selection, report = measure_saved(plan, osp.join(work_dir, MODEL), osp.join(work_dir, CONFIG), name, files)
    stage = Stage(name, plan.labels.metric, work_dir=FOLDERS[name], seconds=round(time.perf_counter() - began, 1))
    return Training(stage, selection, report)


def best_checkpoint(work_dir: str) -> str:
    """The best by the selection images; else the last one.

    Raises:
        FileNotFoundError: There is none.
    """
    best = sorted(glob.glob(osp.join(glob.escape(work_dir), 'best_*.pth')), key=osp.getmtime)
    if best:
        return best[-1]
    raise FileNotFoundError(
        f'{relative_to_here(work_dir)} has no checkpoint best_*.pth: its training was not validated'
    )


def measure_saved(
    plan: Plan, checkpoint: str, config: str, name: str, files: Sequence[str]
) -> Tuple[Measured, Optional[Measured]]:
    """Measure a saved classifier on the selection and the report images."""
    model = build_trained(Config.fromfile(config), checkpoint)
    outputs = Outputs(f'{name}: scores', Scores(model), plan.start, plan.test_pipeline())
    good, split = set(files), plan.labels.split
    parts = [[pair for pair in part if pair[0] in good] for part in (split.selection, split.report)]
    scores = outputs.of([file for part in parts for file, _ in part]).values[0]
    ends = len(parts[0])
    selection = measure(scores[:ends], plan.labels.truth(parts[0]))
    return selection, measure(scores[ends:], plan.labels.truth(parts[1])) if parts[1] else None


def _loading(workers: Optional[int]) -> Dict[str, Any]:
    """Settings of loading workers, beside the config: they change no result."""
    if workers is None:
        return {}
    given: Dict[str, Any] = {}
    for loader in ('train', 'val', 'test'):
        given[f'{loader}_dataloader.num_workers'] = workers
        if not workers:
            given[f'{loader}_dataloader.persistent_workers'] = False
    return given


def _check_room(folder: str, weights: str) -> None:
    """Raises OSError where the disk will not hold the checkpoints: weights and moments of the last two and the best,
    and one that is being written."""
    os.makedirs(folder, exist_ok=True)
    needed, free = 12 * osp.getsize(weights), shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f'{relative_to_here(folder)}: training writes about {needed >> 20} MB of checkpoints, and the disk has '
            f'{free >> 20} MB left: make room; what is finished stays, and the same call goes on'
        )
