"""The labelled images of a classifier: parts, fixed draws of few labels, lists for training."""

import json
import os
import os.path as osp
from collections import Counter, defaultdict
from dataclasses import replace
from math import ceil
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ...config.paths import relative_to_here
from ...datasets.io.list_lines import list_text
from ...evaluation.label_metrics import ACCURACY, BALANCED, MAP, one_hot
from ..folder_split import write_if_changed
from ..label_split import FEWEST, FILE_NAME, LabelSplit, Pair, place_of
from .request import Request

UNBALANCED = 3  # times the images of the smallest class: then the mean over classes chooses
LISTS = 'lists'


class Labels(NamedTuple):
    """The images of one run.

    Attributes:
        split: Its parts; ``selection`` and ``report`` are empty where all images are fitted on.
        metric: What chooses.
        notes: Sentences.
    """

    split: LabelSplit
    metric: str
    notes: List[str]

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.split.several is not None

    def truth(self, pairs: Sequence[Pair]) -> Tensor:
        """``[M]`` labels, or ``[M, classes]`` of 0 and 1."""
        if self.split.several is None:
            return torch.tensor([label for _, label in pairs], dtype=torch.long)
        return one_hot([self.split.several[file] for file, _ in pairs], len(self.split.classes))

    def per_class(self, part: Sequence[Pair]) -> List[int]:
        """Images of each class."""
        several = self.split.several
        counts = Counter(c for file, label in part for c in ([label] if several is None else several[file]))
        return [counts[c] for c in range(len(self.split.classes))]


def find_labels(request: Request, draw: int = 0) -> Labels:
    """The labelled images of a request, and of a draw where it asks for few labels.

    Raises:
        FileNotFoundError: No such file or folder; images that do not exist.
        ValueError: Labels that cannot be trained on, or others than ``labels.json`` of the folder is of.
    """
    whole = _whole(request)
    notes = [f'{note}.' for note in whole.note.split('; ')]
    split, drawn = draw_few(whole, request.share, request.per_class, draw)
    notes += drawn
    if any(part and len({label for _, label in part}) < 2 for part in (split.fit, split.selection)):
        raise ValueError('the images to fit on or to choose by are all of one class: give more labels')
    labels = Labels(split, ACCURACY, notes)
    notes += _balanced(labels, request.balance)
    counts = [count for count in labels.per_class(split.fit) if count]
    if not split.selection and split.several is None and (min(counts) < 2 or max(counts) < FEWEST):
        raise ValueError(
            f'{len(split.fit)} images, of a class {min(counts)}: cross-validation needs at least two of each class, '
            f'and {FEWEST} of one. Give more labels, or a part to choose by'
        )
    if split.several is not None:
        return labels._replace(metric=MAP)
    if max(counts) > UNBALANCED * min(counts):
        notes.append(
            f'Classes have {min(counts)} to {max(counts)} images to fit on: balanced accuracy, the mean over classes, '
            'chooses.'
        )
        return labels._replace(metric=BALANCED)
    return labels


def _balanced(labels: Labels, balance: Optional[str]) -> List[str]:
    """How classes of different size are balanced, in words.

    Raises:
        ValueError: Images may have several labels.
    """
    if balance not in ('weights', 'sampling'):
        return []
    if labels.several:
        raise ValueError(f'balance={balance!r}: it is for images of one label each; here images may have several')
    counts = labels.per_class(labels.split.fit)
    if balance == 'weights':
        factors: Sequence[float] = class_weights(counts)
        what = 'An image counts, in the regression and in the loss, which is then without label smoothing,'
    else:
        factors = [round(max(counts) / count) if count else 0 for count in counts]
        what = 'An image is repeated, in the regression and in training,'
    told = [f'{factor:g} times of {name}' for name, factor in zip(labels.split.classes, factors)]
    return [f'{what} {", ".join(told[:10])}{", ..." if len(told) > 10 else ""}.']


def _whole(request: Request) -> LabelSplit:
    """All labels, as they are in ``labels.json``."""
    sources = [request.data] if isinstance(request.data, (str, os.PathLike)) else list(request.data)
    if len(sources) > 1:
        raise ValueError(f'data={sources}: labels are in one folder or csv; give its images with data and it as labels')
    data = osp.expanduser(os.fspath(sources[0]))
    labels, below = (data, None) if request.labels is None else (request.labels, data)
    new = LabelSplit.of(labels, below, test=request.test, training=True)
    if osp.isfile(osp.join(request.out, FILE_NAME)):
        old = LabelSplit.read(request.out)
        if old.fingerprint != new.fingerprint:
            raise ValueError(
                f'{new.source} has changed since the split in {relative_to_here(osp.join(request.out, FILE_NAME))} was '
                'made; results of two splits cannot be compared. Use another folder for the results, or remove this one'
            )
        new.seen = old.seen
    return new


def draw_few(
    split: LabelSplit, share: Optional[float], per_class: Optional[int], draw: int
) -> Tuple[LabelSplit, List[str]]:
    """A fixed draw of the images to fit on and to choose by; the report stays. Returns the split and sentences."""
    if share is None and per_class is None:
        return split, []
    parts = {part: _few(getattr(split, part), share, per_class, draw) for part in ('fit', 'selection')}
    new = replace(split, **parts)
    what = f'{share:.3g} of the labels' if share is not None else f'{per_class} labels a class'
    note = (
        f'{what}: a fixed draw ({draw}) of {len(new.fit)} of {len(split.fit)} images to fit on and '
        f'{len(new.selection)} of {len(split.selection)} to choose by; the report keeps its {len(split.report)}.'
    )
    return new, [note]


def _few(pairs: List[Pair], share: Optional[float], per_class: Optional[int], draw: int) -> List[Pair]:
    groups: Dict[int, List[Pair]] = defaultdict(list)
    root = osp.commonpath([osp.dirname(file) for file, _ in pairs]) if pairs else ''
    for pair in sorted(pairs, key=lambda pair: place_of(osp.relpath(pair[0], root), f'few {draw}')):
        groups[pair[1]].append(pair)
    kept = {label: ceil(share * len(group)) if share else per_class for label, group in groups.items()}
    return sorted(pair for label, group in groups.items() for pair in group[: kept[label]])


def class_weights(counts: Sequence[int]) -> List[float]:
    """Weights inverse to the images of each class, 1 for an image in the mean."""
    classes = sum(count > 0 for count in counts)
    return [round(sum(counts) / (classes * count), 4) if count else 1.0 for count in counts]


def write_lists(labels: Labels, folder: str, readable: Sequence[str], balance: Optional[str]) -> Dict[str, str]:
    """Write the lists of a run's images, ``lists/fit.txt`` ..., and return their paths by part.

    Args:
        labels: The images.
        folder: Of the run.
        readable: Images that can be read; others are left out.
        balance: ``'sampling'``: images of small classes are in the list several times.
    """
    split, good, paths = labels.split, set(readable), {}
    root = data_root(split)
    os.makedirs(osp.join(folder, LISTS), exist_ok=True)
    for part in ('fit', 'selection', 'report'):
        pairs = [pair for pair in getattr(split, part) if pair[0] in good]
        if not pairs:
            continue
        if part == 'fit' and balance == 'sampling' and not labels.several:
            pairs = repeated(pairs)
        names = [osp.relpath(file, root) for file, _ in pairs]
        several = split.several
        if several is None:
            path, text = f'{part}.txt', list_text(names, [label for _, label in pairs])
        else:
            entries = [dict(img_path=name, gt_label=several[file]) for name, (file, _) in zip(names, pairs)]
            path = f'{part}.json'
            text = json.dumps(dict(metainfo=dict(classes=split.classes), data_list=entries), indent=0)
        paths[part] = osp.join(osp.abspath(folder), LISTS, path)
        write_if_changed(paths[part], text)
    return paths


def repeated(pairs: Sequence[Pair]) -> List[Pair]:
    """Each class as often as the largest one, to the nearest whole number of repetitions."""
    counts = Counter(label for _, label in pairs)
    most = max(counts.values())
    return [pair for pair in pairs for _ in range(round(most / counts[pair[1]]))]


def data_root(split: LabelSplit) -> str:
    """The folder that all images, or the tars with them, lie in."""
    root = osp.commonpath([osp.dirname(file) for file, _ in split.images()])
    while not osp.isdir(root):
        root = osp.dirname(root)
    return root
