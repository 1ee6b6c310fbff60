"""Never worse than the start: which encoder of a run is exported, by a probe on the selection images."""

import glob
import os
import os.path as osp
from typing import Any, Dict, List, NamedTuple

import torch

from ..checkpoint.timm_config import write_timm_config
from ..checkpoint.write import export_encoder
from ..engine.hooks.run_record import add_to_record, read_record
from ..evaluation.knn import knn_predict
from ..evaluation.logistic import choose_probe
from .extract import extract
from .from_checkpoint import load_backbone, read_source
from .frozen import load
from .label_split import LabelSplit, some

EXPORTED, LAST = 'encoder.safetensors', 'encoder_last.safetensors'
MOST = dict(fit=2000, selection=1000)  # images of one look at a candidate
NEIGHBOURS = 20


class Kept(NamedTuple):
    """Which encoder was exported.

    Attributes:
        chosen: ``'start'``, the name of a checkpoint, or ``'last'``.
        candidates: ``name``, ``linear`` and ``knn`` of each: percent of the selection images.
        sentence: What came of it, in words.
    """

    chosen: str
    candidates: List[Dict[str, Any]]
    sentence: str


def keep_best(run: str, split: LabelSplit) -> Kept:
    """Export the best encoder among the start, the kept checkpoints and the last one of a finished run.

    Each is judged by logistic regression on frozen features (at most 2,000 images to fit on, 1,000 of the selection).
    Of equally good ones the last is taken. Another than the last replaces ``encoder.safetensors``, and the last is
    then ``encoder_last.safetensors``. The result is stored in ``run.json`` (``kept``).

    Args:
        run: The work dir.
        split: The labelled images; those of its report are not looked at.
    """
    paths = _candidates(run)
    candidates = [dict(name=name, **_measure(path, split)) for name, path in paths.items()]
    best = max(reversed(candidates), key=lambda entry: entry['linear'])['name']
    if best != 'last':
        _export(run, paths[best])
    count = min(len(split.selection), MOST['selection'])
    kept = Kept(best, candidates, _in_words(best, {entry['name']: entry['linear'] for entry in candidates}, count))
    add_to_record(run, 'kept', kept._asdict())
    return kept


def _candidates(run: str) -> Dict[str, str]:
    """Name to file: the start, checkpoints, the last encoder; a random start is none."""
    last = osp.join(run, LAST)
    exported = last if osp.isfile(last) else osp.join(run, EXPORTED)
    paths = {'start': osp.join(run, 'start.safetensors')} if osp.isfile(osp.join(run, 'start.safetensors')) else {}
    checkpoints = sorted(glob.glob(osp.join(glob.escape(run), 'epoch_*.pth')), key=os.path.getmtime)
    paths.update({osp.basename(path)[: -len('.pth')]: path for path in checkpoints[:-1]})  # the newest is the last
    return {**paths, 'last': exported}


def _measure(path: str, split: LabelSplit) -> Dict[str, float]:
    frozen = load(path)
    parts = [some(split.fit, MOST['fit']), some(split.selection, MOST['selection'])]
    features = extract(frozen, [file for part in parts for file, _ in part])
    labels = torch.tensor([label for part in parts for _, label in part])
    first = torch.arange(len(labels)) < len(parts[0])
    a, b, values = first & features.readable, ~first & features.readable, features.values[0]
    fitted, chosen = (values[a], labels[a]), (values[b], labels[b])
    guess = knn_predict(*fitted, chosen[0], len(split.classes), (NEIGHBOURS,))[NEIGHBOURS]
    knn = 100 * (guess == chosen[1]).double().mean().item()
    return dict(linear=choose_probe(*fitted, *chosen, len(split.classes)).accuracy, knn=knn)


def _export(run: str, path: str) -> None:
    """Make the encoder in a file the exported one."""
    source = read_source(path)
    backbone, preprocessor = load_backbone(source)
    exported, last = osp.join(run, EXPORTED), osp.join(run, LAST)
    if not osp.exists(last):
        os.replace(exported, last)
    mean, std = (getattr(preprocessor, name).flatten().tolist() for name in ('mean', 'std'))
    facts = dict(
        backbone=source.cfg['model']['backbone'], mean=mean, std=std, algorithm='kept', kept=osp.basename(path)
    )
    start = read_record(run).get('start')
    export_encoder(backbone, exported, dict(facts, **({'start': start} if start else {})))
    write_timm_config(exported, backbone, mean, std)


def _in_words(chosen: str, linear: Dict[str, float], images: int) -> str:
    last, of = linear['last'], f'of {images:,} selection images'
    if chosen == 'start':
        return (
            f'Adapting did not help: the start classifies {linear["start"]:.1f}% {of}, after training {last:.1f}%. The '
            f'start is exported; the last encoder is {LAST}'
        )
    better = f'; the start {linear["start"]:.1f}%' if 'start' in linear else ''
    if chosen == 'last':
        return f'The last encoder is exported: it classifies {last:.1f}% {of}{better}'
    return (
        f'{chosen} is exported: it classifies {linear[chosen]:.1f}% {of}, the last {last:.1f}%{better}. The last '
        f'encoder is {LAST}'
    )
