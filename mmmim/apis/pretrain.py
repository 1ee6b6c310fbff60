"""Pre-training by one call, for people who have never seen a config."""

import hashlib
import json
import logging
import math
import os
import os.path as osp
import shlex
import sys
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from mmengine.config import Config

from ..checkpoint.newest import newest_checkpoint
from ..config.check_values import checked
from ..config.images import GOVERNING
from ..config.load import load_config
from ..config.options import settings
from ..config.paths import command, configs_folder, relative_to_here
from ..config.write import Choice, config_text, merge_overrides
from ..datasets.inputs import Data
from ..engine.hooks.checkpoint import START_ENCODER
from ..engine.hooks.run_record import read_record
from ..engine.launch import build_runner
from ..engine.resume import is_finished
from ..models.networks import EXPORTED, STAND_IN, Network, is_public, licence_line, open_network
from ..progress import mode
from ..report.page import write_report
from .best_layer import best_layer, store_layer
from .compare import FILE_NAME as COMPARISON
from .compare import compare as compare_starts
from .folder_split import FolderSplit, write_if_changed
from .frozen import load
from .keep_best import keep_best
from .label_split import FILE_NAME as LABELS
from .label_split import LabelSplit
from .plan import RECIPES, default_hours, default_method, default_model, plan
from .quiet import leave_out_noise
from .speed import check_builds, check_settings, timed_epochs
from .start import Start, find_start

CONFIG_NAME = 'pretrain.py'
CALL_NAME = 'call.json'  # what was asked for: the same call goes on
NOWHERE = open(os.devnull, 'w')  # never closed: a logger keeps it


class Pretrained(NamedTuple):
    """Paths of what pre-training wrote.

    ``encoder`` has timm's parameter names; ``report`` is a page for a browser.
    """

    work_dir: str
    config: str
    checkpoint: str
    encoder: Optional[str]
    report: Optional[str]


@checked
def pretrain(
    data: Data,
    out: str,
    method: Optional[str] = None,
    model: Optional[str] = None,
    image_size: Optional[int] = None,
    epochs: Optional[int] = None,
    hours: Optional[float] = None,
    target: Optional[str] = None,
    labels: Optional[str] = None,
    leave_out: bool = False,
    compare: Union[str, Sequence[str], None] = None,
    lr: Optional[float] = None,
    batch_size: Optional[int] = None,
    seed: Optional[int] = None,
    workers: Optional[int] = None,
    stretch: bool = False,
    **overrides: Any,
) -> Pretrained:
    """Pre-train on a folder of images; labels are not needed.

    Builds a config file, ``out/pretrain.py``, prints its choices with reasons, and runs that config as
    ``tools/train.py`` does. The file can be edited and run again. The same call resumes a run that was stopped, and
    does nothing for one that is finished.

    Args:
        data: A folder of images: flat, nested, with class folders, with ``train/`` and ``val/``; or a list of images, a
            table, tars, or several of all these: :mod:`mmmim.datasets.inputs`.
        out: Work dir for the config, checkpoints, logs, pictures and ``report.html``.
        method: Name of a method, such as ``'mae'``. None: MAE; from weights without a decoder of pixels, and with a
            ``target``, prediction of features.
        model: A size with random weights, ``'vit-tiny'``, ``'vit-small'``, ``'vit-base'`` or ``'vit-large'``; or the
            weights to start from, and with them their network: ``'timm:NAME'``, ``'hf-hub:NAME'``, the file of a
            checkpoint of any project, the folder of a run. None: ViT-T on CPUs, ViT-S with a GPU.
        image_size: Pixels; None: the start's, or chosen from the images and the machine.
        epochs: None: as many as fit into ``hours``.
        hours: Time of training, by which epochs are chosen after some timed steps. None: one with a GPU, a sixth on
            CPUs.
        target: A network whose frozen features are predicted, named as ``model``; also ``'efficientnet-lite0'``.
        labels: Labelled images for measuring, never for training: a csv of (file, label), or a folder of class folders.
        leave_out: Keep the labelled images that measure (selection and report) out of training.
        compare: What the result is compared with, as names of ``model`` and ``'random'``, separated by commas. None:
            random weights and public ones where ``labels`` are given. ``'none'``: nothing.
        lr: ``base_lr``, the learning rate for 256 images in a step.
        batch_size: ``total_batch_size``, images in a step.
        seed: ``randomness.seed``.
        workers: Processes that load images; the same call with another number goes on.
        stretch: With other ``epochs`` than the run in ``out``: go on with it, at its step of the schedule of the new
            length.
        **overrides: Any other setting of the config: ``total_batch_size=128``, ``model__mask_ratio=0.6`` or
            ``**{'model.mask_ratio': 0.6}``.

    Returns:
        Paths of what was written.

    Raises:
        FileNotFoundError: No such folder, no images in it, or weights that are not here and cannot be fetched.
        ValueError: An invalid setting, or a work dir of another run.
        KeyboardInterrupt: Ctrl-C; a checkpoint was saved first, and the same call resumes the run.
    """
    if compare not in (None, 'none') and labels is None:
        raise ValueError(f'compare={compare!r} needs labels to compare by: give labels, a csv file or class folders')
    given = {**overrides, **_overrides(overrides, lr=lr, batch_size=batch_size, seed=seed, workers=workers)}
    config = write_config(
        data,
        out,
        method,
        model,
        image_size,
        epochs,
        given,
        hours=hours,
        target=target,
        labels=labels,
        leave_out=leave_out,
        stretch=stretch,
    )
    if not is_finished(out) or _is_longer(config, out):
        check_starts(compare)  # before hours of training
        try:
            train_quietly(config, out, stretch, _loading(given))
        except SystemExit as stopped:  # asked to stop, and saved
            raise KeyboardInterrupt(f'stopped and saved in {out}; the same call continues') from stopped
    else:
        print(f'{relative_to_here(out)} holds this run, finished: nothing is done again')
    write_report([out], osp.join(out, 'report.html'))  # before what may fail: it is written again
    judge(out, compare, labels is not None)
    return _result(config, out)


def _overrides(others: Dict[str, Any], **options: Any) -> Dict[str, Any]:
    """The settings that options stand for in the configs that are written.

    Raises:
        ValueError: One is given twice.
    """
    base = Config.fromfile(str(configs_folder() / 'quickstart' / 'mae.py'))
    found = settings(base, options)
    given = {key.replace('__', '.') for key in others}
    twice = [key for key in found if key in given]
    if twice:
        raise ValueError(f'{twice[0]} is given twice: as an option, and by its name')
    return found


def _loading(given: Dict[str, Any]) -> Dict[str, Any]:
    """The settings of loading workers, by dotted keys. They change no result: a run goes on with any."""
    dotted = {key.replace('__', '.'): value for key, value in given.items()}
    names = ('num_workers', 'persistent_workers')
    return {key: value for key, value in dotted.items() if key.rpartition('.')[2] in names}


def _without_loading(call: Dict[str, Any]) -> Dict[str, Any]:
    given = call.get('overrides') or {}
    return dict(call, overrides={key: value for key, value in given.items() if not _loading({key: value})})


def _is_longer(config: str, out: str) -> bool:
    """Whether a config is longer than the run in its work dir was."""
    done = read_record(out).get('max_epochs')
    return isinstance(done, int) and Config.fromfile(config).max_epochs > done


def write_config(
    data: Data,
    out: str,
    method: Optional[str] = None,
    model: Optional[str] = None,
    image_size: Optional[int] = None,
    epochs: Optional[int] = None,
    overrides: Optional[Dict[str, Any]] = None,
    *,
    hours: Optional[float] = None,
    target: Optional[str] = None,
    labels: Optional[str] = None,
    leave_out: bool = False,
    stretch: bool = False,
) -> str:
    """Write ``out/pretrain.py``, print its choices with their reasons, and return its path.

    The arguments are those of :func:`pretrain`; with ``stretch`` a config of other ``epochs`` is replaced. The weights
    of a start are written to ``candidates/start.safetensors`` there, and the labelled images to ``labels.json``.

    Raises:
        ValueError: ``out`` holds a different config.
    """
    out = osp.abspath(out)
    path = osp.join(out, CONFIG_NAME)
    overrides = dict(overrides or {})
    _check_contradictions(method, epochs, hours, target, labels, leave_out, overrides)
    # other choices follow from these two
    epochs, batch = overrides.pop('max_epochs', epochs), overrides.pop('total_batch_size', None)
    images = {key: overrides[key] for key in GOVERNING if key in overrides}
    check_out(out)
    split = _find_images(data, out)
    asked = dict(
        data=split.folder, method=method, model=model, image_size=image_size, epochs=epochs, batch=batch, hours=hours,
        target=target, labels=labels, leave_out=leave_out, overrides=overrides, images=split.digest(),
    )  # fmt: skip
    again = train_command(command('train'), path, out, relative_to_here)
    if osp.exists(path) and _check_same(path, asked, again, stretch):
        print(f'goes on with {relative_to_here(path)}')
        return path
    model = model or default_model()
    start = None if model in RECIPES else find_start(model, list(RECIPES))
    method = method or default_method(start, target)
    if method == 'features' and target is None and start is None:
        target = STAND_IN
    teacher = None if target is None else open_network(osp.abspath(target) if osp.exists(target) else target)
    known = dict(
        image_size=image_size, batch_size=batch, start=start, target=teacher, images=images,
        labels=find_labels(split, labels, out, leave_out),
    )  # fmt: skip

    base = f'quickstart/{method}'

    def choose(length: Choice) -> Tuple[Dict[str, Choice], str]:
        choices = merge_overrides(plan(split, out, length, method, model, **known), overrides, base)
        line = train_command(['mmmim', 'train'], path, out, os.path.abspath)
        return choices, config_text(choices, base, line, f'Pre-training ({method}, {model}) on {split.folder}.')

    if start is not None:
        _write_start(start, method, out)
    if epochs is None:
        length = timed_epochs(choose(Choice(1, ''))[1], len(split.files[0]), hours or default_hours())
    else:
        length = Choice(epochs, 'as asked for')
    choices, text = choose(length)
    check_settings(text)
    if epochs is not None and method == 'features':
        check_builds(text)  # a target that cannot be used ends the call before anything is written
    _say(choices, split, start, teacher)
    write_if_changed(osp.join(out, CALL_NAME), json.dumps(dict(asked, config=_digest(text)), indent=1))
    write_if_changed(path, text)
    print(f'The config is {relative_to_here(path)}: edit it if you like, and run it again with\n  {again}')
    return path


def _find_images(data: Data, out: str) -> FolderSplit:
    split = FolderSplit(data)
    if out in (split.folder, *split.roots):
        raise ValueError(
            f'out={out!r} is the folder of the images: name another one for results, such as {out}/results'
        )
    return split


def _write_start(start: Start, method: str, out: str) -> None:
    start.write(out)
    if method == 'mae' and not start.decoder:
        print(
            f'{start.name} has no decoder of pixels that can go on: painting them from here may lose what it knows '
            '(docs/pretrain.md); watch the curve of k-NN'
        )


def _say(choices: Dict[str, Choice], split: FolderSplit, start: Optional[Start], teacher: Optional[Network]) -> None:
    """Print the choices, what was left out of the images, and the licences of weights."""
    for line in (*describe(choices), *split.said):
        print(line)
    for weights in (start, teacher):
        if weights is not None and weights.licence:  # a run that began at random has none
            print(licence_line(weights.name, weights.licence))


def _check_contradictions(
    method: Optional[str],
    epochs: Optional[int],
    hours: Optional[float],
    target: Optional[str],
    labels: Optional[str],
    leave_out: bool,
    overrides: Dict[str, Any],
) -> None:
    """Raises ValueError for arguments of :func:`write_config` that cannot be meant together."""
    if epochs is not None and overrides.get('max_epochs', epochs) != epochs:
        raise ValueError(f'epochs={epochs} and max_epochs={overrides["max_epochs"]} are one thing: give one of them')
    epochs = overrides.get('max_epochs', epochs)
    if hours is not None and epochs is not None:
        raise ValueError(f'epochs={epochs} and hours={hours:g} both state the length of the run: give one of them')
    if hours is not None and not 0 < hours < math.inf:
        raise ValueError(f'hours={hours:g} is no time to train for: give more than 0, such as 0.5')
    if leave_out and labels is None:
        raise ValueError('leave_out keeps labelled images out of training: give labels, too')
    if target is not None and method not in (None, 'features'):
        raise ValueError(
            f"target={target!r} is for method='features'. With method={method!r}: model.target.type=TimmTarget "
            f'model.target.model={target}, and for mae model.head.type=FeatureHead'
        )


def check_out(out: str) -> None:
    """Raises ValueError for a folder that cannot be written to."""
    try:
        os.makedirs(out, exist_ok=True)
    except OSError as error:
        raise ValueError(f'out={out!r} cannot be a folder for results: {error.strerror}') from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise ValueError(f'out={out!r} may not be written by this user')


def find_labels(split: FolderSplit, labels: Optional[str], out: str, leave_out: bool) -> Optional[LabelSplit]:
    """The labelled images for measuring: those that are given, else class folders among the images themselves.

    Images that measure and are trained on, too, are counted and said, or left out of training.
    """
    if labels is None and not split.labelled:
        return None
    if labels is None:
        found = LabelSplit.held_out(split)
    else:
        below = split.folder if osp.isdir(split.folder) else osp.commonpath(split.roots)
        found = LabelSplit.of(labels, None if below == '/' else below)  # names are looked for in all of it
    seen = found.seen_in([osp.join(split.roots[0], file) for file in split.files[0]])
    if leave_out and seen.trained:
        print(f'{split.leave_out(seen.trained)} images that measure are left out of training')
        found.seen = 0
    elif seen.note:
        print(f'{seen.note} (--leave-out keeps them out of training)')
    found.write(out)
    return found


def _check_same(path: str, asked: Dict[str, Any], again: str, stretch: bool = False) -> bool:
    """Check that a config is what this call wrote before. False: with ``stretch``, but for another length.

    Other loading workers are no other call.

    Raises:
        ValueError: It was written by another call, for other images, or was edited since.
    """
    try:
        with open(osp.join(osp.dirname(path), CALL_NAME), encoding='utf-8') as file:
            before = _without_loading(json.load(file))
    except (OSError, ValueError):
        before = {}
    now = json.loads(json.dumps(_without_loading(asked)))
    keys = [key for key in now if before.get(key) != now[key]]
    different = [f'{key} was {before.get(key)!r}, is {now[key]!r}' for key in keys]
    length = bool(keys) and set(keys) <= {'epochs', 'hours'} and now['epochs'] is not None
    if (not keys or (length and stretch)) and before['config'] == _digest(open(path, encoding='utf-8').read()):
        return not keys
    what = '; '.join(text for text in different if not text.startswith('images')) if before else ''
    other = 'other images, or it was edited' if before else f'there is no {CALL_NAME} beside it'
    what += '. To go on with it, by the schedule of the new length: --stretch' * length
    raise ValueError(
        f'{path} says something else than this call would write: {what or other}. To run it '
        f'as it is: {again}. To go on, give the same settings again; for others, use another folder for the results, '
        f'or remove {relative_to_here(osp.dirname(path))}'
    )


def _digest(text: str) -> str:
    # as it was written: names of folders need not be UTF-8
    return hashlib.sha256(text.encode(errors='backslashreplace')).hexdigest()


def train_command(start: List[str], path: str, out: str, shown: Callable[[str], str]) -> str:
    """The command that runs the config without this function; ``shown`` shortens paths."""
    return shlex.join([*start, shown(path), '--work-dir', shown(out), '--resume'])


def describe(choices: Dict[str, Choice]) -> list:
    """The choices that have a reason, one per line; architecture and decoder share one."""
    left_out = ('model.neck.', 'test_dataloader.', 'default_hooks.', 'data_root')
    lines = [f'{choices["data_root"].value}: {choices["data_root"].reason}']
    for key, (value, reason) in choices.items():
        if reason and not key.startswith(left_out):
            name = 'target' if key == 'model.target.model' else key.split('.')[-1]
            shown = reason if name == 'arch' else f'{value} ({reason})' if not isinstance(value, dict) else reason
            lines.append(f'  {name:18s}{shown}')
    return lines


def train_quietly(
    config: str, out: str, stretch: bool = False, given: Optional[Dict[str, Any]] = None, prints: bool = True
) -> None:
    """Train a config, or go on with it, as ``mmmim train`` does: warnings and a progress line are shown, the log has
    the rest.

    Args:
        config: The file.
        out: Its work dir.
        stretch: See :func:`pretrain`.
        given: Settings beside it, by dotted keys.
        prints: Whether what is printed while it trains is shown: pycocotools prints tables.
    """
    cfg = load_config(config, given, out)
    cfg.resume = 'auto'
    if stretch:
        cfg.resume_schedule = 'stretch'
    with redirect_stdout(NOWHERE):  # MMEngine prints the whole config and more; the log file has it too
        runner = build_runner(cfg)
    for handler in runner.logger.handlers:
        if getattr(handler, 'stream', None) is NOWHERE:
            handler.setStream(sys.stderr)
            handler.setLevel(logging.WARNING)
            leave_out_noise(handler)
    count, unit = (cfg.max_iters, 'iteration') if cfg.get('max_iters') else (runner.max_epochs, 'epoch')
    length = f'{count} {unit}{"s" * (count > 1)}'
    print(f'training for {length}; the log is in {relative_to_here(runner.log_dir)}', flush=True)
    print('Ctrl-C saves and stops; the same call continues', flush=True)
    with _visible_progress(), nullcontext() if prints else redirect_stdout(NOWHERE):
        runner.train()


@contextmanager
def _visible_progress() -> Iterator[None]:
    """Show progress as plain lines where there is no terminal: the log is hidden, so nothing else would."""
    chosen = os.environ.get('MMMIM_PROGRESS')
    if mode() == 'off' and chosen is None:
        os.environ['MMMIM_PROGRESS'] = 'lines'
    try:
        yield
    finally:
        if chosen is None:
            os.environ.pop('MMMIM_PROGRESS', None)


def judge(out: str, starts: Union[str, Sequence[str], None], labelled: bool) -> None:
    """What labels tell of a finished run: which encoder is kept, its best layer, and how it compares with others.

    Each is done once: the results are in the work dir.

    Args:
        out: The work dir; without ``labels.json`` there is nothing to do.
        starts: What it is compared with; None: random weights, the start and public weights, where ``labelled``.
        labelled: Whether labels were given, and not just found.
    """
    if not osp.isfile(osp.join(out, LABELS)):
        return
    split, record = LabelSplit.read(out), read_record(out)
    if 'kept' not in record:
        print(keep_best(out, split).sentence)
    if 'layer_note' not in record:
        choice = best_layer(load(out), split)
        store_layer(out, choice)
        print(choice.sentence)
    if starts is None:
        starts = ['random', *_origins(out, record)] if labelled else 'none'
    table, exported = osp.join(out, COMPARISON), osp.join(out, EXPORTED)
    if starts != 'none' and not (osp.isfile(table) and osp.getmtime(table) >= osp.getmtime(exported)):
        compare_starts([out], starts)


def _origins(out: str, record: Dict[str, Any]) -> List[str]:
    """Names of the weights that a run started from and learned from; files and runs by what the run keeps of them."""
    start, teacher = (record.get(key) or {} for key in ('start', 'teacher'))
    names = []
    if start.get('kind') in ('file', 'run'):
        names.append(osp.join(out, START_ENCODER))
    elif start.get('kind') == 'public':
        names.append(start['name'])
    if teacher.get('name') and (is_public(teacher['name']) or osp.exists(teacher['name'])):
        names.append(teacher['name'])
    return names


def check_starts(starts: Union[str, Sequence[str], None]) -> None:
    """Open what is to be compared with, to see that it can be had.

    Raises:
        FileNotFoundError, ValueError: It cannot.
    """
    for name in starts.split(',') if isinstance(starts, str) else starts or ():
        if name.strip() not in ('', 'none', 'random'):
            load(name.strip(), device='cpu')


def _result(config: str, out: str) -> Pretrained:
    encoder = osp.join(out, EXPORTED)
    report = write_report([out], osp.join(out, 'report.html'))
    print(f'report: {relative_to_here(report)}')
    return Pretrained(out, config, newest_checkpoint(out), encoder if osp.exists(encoder) else None, report)
