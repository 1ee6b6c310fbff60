"""The way from labelled images to a segmentor or a detector: plan, train, keep the best, measure once, report."""

import os
import os.path as osp
import time
import warnings
from abc import ABC, abstractmethod
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from mmengine.config import Config

from ...checkpoint.write import atomic_write_bytes, atomic_write_text
from ...config.paths import relative_to_here
from ...config.write import Bases, Choice, config_text, merge_overrides
from ...engine.hooks.checkpoint import START_ENCODER
from ...engine.resume import is_finished
from ...models.networks import licence_line
from ...report.finetuned import Wrong, write_finetuned
from ...report.page import write_report
from ...visualization.comparison import comparison_panel
from ..compare import RANDOM, trained_on
from ..folder_split import write_if_changed
from ..pretrain import NOWHERE, train_command, train_quietly
from ..speed import check_settings, checked_config, seconds_a_step
from ..trained import CONFIG, MODEL, Trained, open_trained
from .encoders import Encoder, find_encoder
from .parts import CONFIG_NAME, QUICK_NAME, seen_among
from .request import FineTuned, Request, Results, Stage

REPORT = 'report.html'
PICTURES = 6
_LINEAR = 'linear_'  # before the work dir of a quick training
PICTURES_TITLE = 'What the kept model says of images that it was not trained on'
# What a run leaves in its own copy of a config. The kept model's config is to start anew elsewhere.
_OF_A_RUN = ('work_dir', 'resume', 'load_from', 'launcher', 'source', 'settled')


class Measured(NamedTuple):
    """What a model reaches on a part; percent.

    Attributes:
        value, interval: Of the metric, see :class:`~mmmim.evaluation.dense.Scored`.
        measures: Further numbers by name.
        per_class: One number a class, NaN where it does not occur.
        note: A sentence, such as why there is no interval.
    """

    value: Optional[float]
    interval: Optional[Tuple[float, float]]
    measures: Dict[str, float]
    per_class: List[float]
    note: str = ''


class Job(ABC):
    """A task with its data: what differs between segmentation and detection.

    Attributes:
        task: As in :class:`~mmmim.apis.trained.Trained`.
        model: Name of the model: ``'UperNet'``.
        metric, key: Its name in results, and in the log of a run.
        data: In words, for the config's docstring.
        counts: Images of ``fit``, ``selection``, ``report``; ``classes``.
        notes: Sentences for the report.
    """

    task: str
    model: str
    metric: str
    key: str
    data: str
    counts: Dict[str, int]
    notes: List[str]

    @abstractmethod
    def plan(self, encoder: Encoder, steps: Choice) -> Tuple[Bases, Dict[str, Choice]]:
        """The base config and the choices for an encoder and a number of optimizer steps."""

    @abstractmethod
    def steps(self, epochs: int) -> int:
        """Optimizer steps of so many passes over the images to fit on."""

    @property
    @abstractmethod
    def most_epochs(self) -> int:
        """Beyond which more of the same images teaches little."""

    @abstractmethod
    def check(self, cfg: Config) -> None:
        """Check labels against a config before anything is trained."""

    @abstractmethod
    def measure(self, trained: Trained, model: Any, part: str) -> Measured:
        """Measure a built model on ``'val'`` (selection) or ``'test'`` (report) of its config."""

    @abstractmethod
    def class_rows(self, per_class: List[float]) -> List[Dict[str, Any]]:
        """The rows of ``Results.per_class``."""

    @abstractmethod
    def measuring_images(self) -> Dict[str, List[str]]:
        """Paths of the images of ``'selection'`` and of ``'report'``."""


class Way(NamedTuple):
    """A training: a start, its config, the folder that it runs in, and settings beside the config."""

    title: str
    encoder: Encoder
    config: str
    work_dir: str
    overrides: Dict[str, Any]


def fine_tune(request: Request, job: Job, hours: float) -> FineTuned:
    """Train a model for a task, keep the best checkpoint by the selection images, and report on others.

    Args:
        request: What was asked for.
        job: The task and its data.
        hours: Of training, where neither a length nor a time was asked for.

    Raises:
        ValueError, FileNotFoundError: Before training: starts, settings or labels that cannot be used.
        KeyboardInterrupt: Stopped and saved; the same call goes on.
    """
    out = osp.abspath(request.out)
    os.makedirs(out, exist_ok=True)
    earlier = Results.read(out)
    if earlier and earlier.finished and osp.isfile(osp.join(out, MODEL)):
        print(f'{relative_to_here(out)} holds this fine-tuning, finished: nothing is done again')
        return _result(out, earlier)
    ways = _ways(request, job, hours)  # after a quick call the stages of that one stay, and these come beside them
    results = Results(
        job.task,
        ways[0].encoder.facts(),
        dict(job.counts),
        notes=[*job.notes, *(line for way in ways for line in _seen(way, job))],
    )
    results.stages = [stage for stage in (earlier.stages if earlier else []) if stage.report is not None]
    for line in results.notes:
        print(line, flush=True)
    per_class: Dict[str, List[float]] = {}  # by work dir
    for way in ways:
        if all(stage.work_dir != osp.relpath(way.work_dir, out) for stage in results.stages):
            stage, per_class[osp.relpath(way.work_dir, out)] = _run(way, job, out)
            results.stages.append(stage)
            results.write(out)
    _keep(results, ways, job, out, per_class)
    return _result(out, results)


# ---------------------------------------------------------------------------------------------------------- the plan


def _ways(request: Request, job: Job, hours: float) -> List[Way]:
    """The trainings of a call: the start's, and those that it is compared with."""
    out = osp.abspath(request.out)
    encoder = find_encoder(request.model)
    config = osp.join(out, QUICK_NAME if request.quick else CONFIG_NAME)
    label = RANDOM if encoder.kind == 'random' else 'pretrained'
    main = Way(encoder.name, encoder, config, _folder(request, job, label), {})
    length = _write(main, request, job, hours)
    ways = [main]
    names = request.compare.split(',') if isinstance(request.compare, str) else list(request.compare or ())
    for name in dict.fromkeys(name.strip() for name in names):
        if name in ('', 'none', encoder.name) or (name == RANDOM and encoder.kind == 'random'):
            continue
        if name == RANDOM:  # the same network
            ways.append(Way(RANDOM, encoder, config, _folder(request, job, RANDOM), {'pretrained': None}))
            continue
        label = f'start_{len(ways)}'
        config_of = osp.join(out, f'{"quick_" * request.quick}{label}.py')
        other = Way(name, find_encoder(name), config_of, _folder(request, job, label), {})
        _write(other, request, job, hours, length)
        ways.append(other)
    return ways


def _folder(request: Request, job: Job, label: str) -> str:
    """The work dir of a training: a quick one is of another network, so it has its own."""
    return osp.join(osp.abspath(request.out), job.task, _LINEAR * request.quick + label)


def _write(way: Way, request: Request, job: Job, hours: float, length: Optional[Choice] = None) -> Optional[Choice]:
    """Write the config of a training, unless it is there; returns the number of its steps."""
    out = osp.abspath(request.out)
    again = train_command(['mmmim', 'train'], way.config, way.work_dir, os.path.abspath)
    if osp.isfile(way.config):
        print(f'goes on with {relative_to_here(way.config)}')
        cfg = Config.fromfile(way.config)
        return Choice(cfg.get('max_iters') or job.steps(cfg.max_epochs), f'as {relative_to_here(way.config)}')
    encoder = way.encoder
    weights = ''
    if encoder.start is not None:
        folder = out if osp.basename(way.config) in (CONFIG_NAME, QUICK_NAME) else way.work_dir
        encoder.start.write(folder)
        weights = osp.join(folder, START_ENCODER)

    def choose(steps: Choice) -> Tuple[Dict[str, Choice], str]:
        base, choices = job.plan(encoder, steps)
        told = f'{encoder.describe()}' + (f'; licence: {encoder.licence}' if encoder.licence else ', random weights')
        given = {'pretrained': Choice(weights or None, told), **choices, **_asked(request)}
        merged = merge_overrides(given, request.overrides, base)
        title = f'{job.model} from {encoder.name} on {job.data}.'
        return merged, config_text(merged, base, again, title)

    with quiet_toolbox():
        job.check(checked_config(choose(Choice(1000, ''))[1]))  # before anything is timed
    if length is not None:
        length = length._replace(reason='as many as from the first start: the comparison is at equal steps, not time')
    length = length or _length(request, job, choose(Choice(1000, ''))[1], hours)
    choices, text = choose(length)
    check_settings(text)
    for key, (value, reason) in choices.items():
        if reason and not key.startswith(('default_hooks', 'test_dataloader', 'val_dataloader')):
            print(f'  {key.rpartition(".")[2]:20s} {_shown(value, reason)}', flush=True)
    if encoder.licence:
        print(licence_line(encoder.name, encoder.licence))
    write_if_changed(way.config, text)
    print(f'The config is {relative_to_here(way.config)}: edit it if you like, and run it with\n  {again}', flush=True)
    return length


def _shown(value: Any, reason: str) -> str:
    return reason if isinstance(value, (dict, list, str)) and len(str(value)) > 40 else f'{value} ({reason})'


def _asked(request: Request) -> Dict[str, Choice]:
    """What was asked for and means the same in both tasks."""
    asked = 'as asked for'
    chosen: Dict[str, Choice] = {}
    if request.lr is not None:
        chosen['optim_wrapper.optimizer.lr'] = Choice(request.lr, asked)
    if request.seed is not None:
        chosen['randomness.seed'] = Choice(request.seed, asked)
    if request.workers is not None:
        for loader in ('train', 'val', 'test'):
            chosen[f'{loader}_dataloader.num_workers'] = Choice(request.workers, asked if loader == 'train' else '')
            chosen[f'{loader}_dataloader.persistent_workers'] = Choice(request.workers > 0, '')
    return chosen


def _length(request: Request, job: Job, text: str, hours: float) -> Choice:
    """How many steps: as asked for, or as many as fit into a time by the speed of some of them."""
    if request.epochs is not None:
        return Choice(job.steps(request.epochs), f'epochs={request.epochs}, as asked for')
    given = request.hours or hours
    print('timing some steps ...', flush=True)
    with quiet_toolbox():
        seconds = seconds_a_step(text)
    fitting, most = max(2, round(given * 3600 / seconds)), job.steps(job.most_epochs)
    told = f'{seconds:.2g} seconds a step, measured'
    if fitting > most:
        return Choice(most, f'{told}: {most * seconds / 60:.3g} minutes; {job.most_epochs} epochs are enough')
    return Choice(fitting, f'{told}: {fitting * seconds / 60:.3g} minutes; --hours or --epochs for another length')


# ----------------------------------------------------------------------------------------------------------- training


def _run(way: Way, job: Job, out: str) -> Tuple[Stage, List[float]]:
    """Train, unless that is done, and measure the best checkpoint; also by class."""
    started = time.monotonic()
    if not is_finished(way.work_dir):
        print(f'{job.model} from {way.title}', flush=True)
        try:
            train_quietly(way.config, way.work_dir, given=way.overrides, prints=False)
        except SystemExit as stopped:  # asked to stop, and saved
            raise KeyboardInterrupt(f'stopped and saved in {way.work_dir}; the same call continues') from stopped
    with quiet_toolbox():
        trained = open_trained(way.work_dir)
        model = trained.build()
        selection, report = (job.measure(trained, model, part) for part in ('val', 'test'))
    stage = Stage(
        job.model if way.title != RANDOM else f'{job.model}, random start',
        job.metric,
        selection.value,
        report.value,
        report.interval,
        seconds=time.monotonic() - started,
        work_dir=osp.relpath(way.work_dir, out),
        measures=dict(report.measures),
        note=report.note,
    )
    print(_in_words(stage), flush=True)
    return stage, report.per_class


@contextmanager
def quiet_toolbox() -> Iterator[None]:
    """Without what the toolboxes print: tables of pycocotools, a warning of mmseg's loss at each model."""
    with redirect_stdout(NOWHERE), warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Default ``avg_non_ignore``')
        yield


def _in_words(stage: Stage) -> str:
    def percent(value: Optional[float]) -> str:
        return 'not measured' if value is None else f'{value:.1f}%'

    interval = f' (95% interval {stage.interval[0]:.1f} to {stage.interval[1]:.1f})' if stage.interval else ''
    return (
        f'{stage.name}: {stage.metric} {percent(stage.report)}{interval} of the images that are reported, '
        f'{percent(stage.selection)} of those that selected'
    )


def _seen(way: Way, job: Job) -> List[str]:
    """Warnings where images that select or measure were pre-trained on, as files or as copies."""
    start = way.encoder.start
    if start is None or start.kind != 'run':
        return []
    if way.overrides:
        return []  # the same network from random weights
    trained, lines = trained_on(start.name), []
    for part, words in (('selection', 'that select'), ('report', 'that are reported')):
        count = len(seen_among(job.measuring_images()[part], trained))
        if count:
            lines.append(
                f'WARNING: {count} of the images {words} were also pre-trained on by {way.title}, without labels'
            )
    return lines


# ------------------------------------------------------------------------------------------------------------ the end


def _keep(results: Results, ways: List[Way], job: Job, out: str, per_class: Dict[str, List[float]]) -> None:
    """Write the best model by the selection images, its table, the pictures and the report."""
    best = max(results.stages, key=lambda stage: -1.0 if stage.selection is None else stage.selection)
    for stage in results.stages:
        stage.kept = stage is best
    folder = osp.join(out, best.work_dir)
    trained = open_trained(folder)
    with open(trained.checkpoint, 'rb') as file:
        atomic_write_bytes(file.read(), osp.join(out, MODEL))
    atomic_write_text(osp.join(out, CONFIG), _model_config(trained, best.name))
    with quiet_toolbox():
        kept = open_trained(out)
        model = kept.build()
        if best.work_dir not in per_class:  # measured by an earlier call
            per_class[best.work_dir] = job.measure(kept, model, 'test').per_class
    results.per_class = job.class_rows(per_class[best.work_dir])
    facts = {
        osp.basename(way.work_dir).removeprefix(_LINEAR): dict(way.encoder.facts(), name=way.title) for way in ways
    }
    if len(ways) > 1:
        shown = ('metric', 'selection', 'report', 'interval', 'kept')
        results.table = [
            dict(
                facts[osp.basename(stage.work_dir).removeprefix(_LINEAR)],
                stage=stage.name,
                **{key: getattr(stage, key) for key in shown},
            )
            for stage in results.stages
        ]
    results.finished = True
    results.write(out)
    for stage in results.stages:
        write_report([osp.join(out, stage.work_dir)])  # curves
    write_finetuned(out, asdict(results), _pictures(kept, model, osp.join(out, job.task)), PICTURES_TITLE)


def _pictures(kept: Trained, model: Any, folder: str) -> List[Wrong]:
    """What the kept model says of some selection images, beside the truth; also as ``predictions.png``."""
    with quiet_toolbox():
        panel = comparison_panel(kept.cfg, {'prediction': model}, PICTURES, notes=dict(config=CONFIG, score=0.3))
    panel.save(osp.join(folder, 'predictions.png'))
    return [
        Wrong(tile, f'{name}: {column}')
        for name, row in zip(panel.row_names, panel.tiles)
        for column, tile in zip(panel.columns, row)
    ]


def _model_config(trained: Trained, name: str) -> str:
    """The config that the kept model was trained with, without what belonged to its run."""
    cfg = Config.fromfile(trained.config)
    for key in _OF_A_RUN:
        cfg.pop(key, None)
    title = f'r"""{name}, the model beside this file: mmmim test {CONFIG} {MODEL}."""\n\n'
    return title + cfg.pretty_text


def _result(out: str, results: Results) -> FineTuned:
    report = osp.join(out, REPORT)
    config, checkpoint = osp.join(out, CONFIG), osp.join(out, MODEL)
    return FineTuned(out, results.task, config, checkpoint, results, report if osp.isfile(report) else None)
