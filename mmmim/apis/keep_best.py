"""Never worse than the start: which encoder of a run is exported, by a probe on the selection images."""

import os
import os.path as osp
from typing import Any, Dict, List, NamedTuple, Tuple

from ..checkpoint.timm_config import write_timm_config
from ..checkpoint.write import export_encoder, exported_facts
from ..engine.hooks.checkpoint import BEST_ENCODER, LAST_ENCODER, START_ENCODER, crop_share, origin
from ..engine.hooks.run_record import add_to_record, read_record
from ..models.networks import EXPORTED
from .best_layer import selection_scores
from .from_checkpoint import load_backbone, read_source
from .frozen import load
from .label_split import LabelSplit

MOST = dict(most_fit=2000, most_selection=1000)  # images of one look at a candidate


class Kept(NamedTuple):
    """Which encoder was exported.

    Attributes:
        chosen: ``'start'``, ``'epoch N'``, or ``'last'``.
        candidates: ``name``, ``linear`` and ``knn`` of each: percent of the selection images.
        sentence: What came of it, in words.
    """

    chosen: str
    candidates: List[Dict[str, Any]]
    sentence: str


def keep_best(run: str, split: LabelSplit) -> Kept:
    """Export the best encoder of a finished run: the start, the best on the way by k-NN, or the last one.

    Each is judged by logistic regression on frozen features (at most 2,000 images to fit on, 1,000 of the selection).
    Of equally good ones the last is taken. Another than the last replaces ``encoder.safetensors``, and the last is
    then ``candidates/last.safetensors``. The result is stored in ``run.json`` (``kept``).

    Args:
        run: The work dir.
        split: The labelled images; those of its report are not looked at.
    """
    paths = _candidates(run)
    size = load(paths['last']).img_size  # the start may be of larger images
    candidates = [
        dict(name=name, **selection_scores(load(path, image_size=size), split, **MOST)) for name, path in paths.items()
    ]
    best = max(reversed(candidates), key=lambda entry: entry['linear'])['name']
    if best != 'last':
        _export(run, paths[best], size)
    count = min(len(split.selection), MOST['most_selection'])
    kept = Kept(best, candidates, _in_words(best, {entry['name']: entry['linear'] for entry in candidates}, count))
    add_to_record(run, 'kept', kept._asdict())
    return kept


def _candidates(run: str) -> Dict[str, str]:
    """Name to file: the weights that the run started from, the best on the way by k-NN, the last encoder."""
    last = osp.join(run, LAST_ENCODER)  # there if this was begun before and stopped
    paths = {'last': last if osp.isfile(last) else osp.join(run, EXPORTED)}
    start, best = osp.join(run, START_ENCODER), osp.join(run, BEST_ENCODER)
    if osp.isfile(best):
        facts = exported_facts(best)
        if facts.get('iterations') != exported_facts(paths['last']).get('iterations'):  # else they are the same
            paths = {f'epoch {facts.get("epoch")}': best, **paths}
    if read_record(run).get('start', {}).get('kind') != 'random' and osp.isfile(start):
        paths = {'start': start, **paths}
    return paths


def _export(run: str, path: str, size: Tuple[int, int]) -> None:
    """Make the encoder in a file the exported one, for images of the run's size."""
    source = read_source(path)
    backbone, preprocessor = load_backbone(source, size)
    exported, last = osp.join(run, EXPORTED), osp.join(run, LAST_ENCODER)
    if not osp.exists(last):
        os.makedirs(osp.dirname(last), exist_ok=True)
        os.replace(exported, last)
    facts = exported_facts(path)
    facts['backbone'] = dict(facts['backbone'], img_size=list(size))
    facts['pipeline'] = exported_facts(last).get('pipeline', [])
    export_encoder(backbone, exported, {**facts, **origin(read_record(run))})
    write_timm_config(exported, backbone, preprocessor.mean, preprocessor.std, crop_share(facts['pipeline']))


def _in_words(chosen: str, linear: Dict[str, float], images: int) -> str:
    last, of = linear['last'], f'of {images:,} selection images'
    if chosen == 'start':
        return (
            f'Adapting did not help: the start classifies {linear["start"]:.1f}% {of}, after training {last:.1f}%. The '
            f'start is exported; the last encoder is {LAST_ENCODER}'
        )
    better = f'; the start {linear["start"]:.1f}%' if 'start' in linear else ''
    if chosen == 'last':
        return f'The last encoder is exported: it classifies {last:.1f}% {of}{better}'
    return (
        f'{chosen} is exported: it classifies {linear[chosen]:.1f}% {of}, the last {last:.1f}%{better}. The last '
        f'encoder is {LAST_ENCODER}'
    )
