"""Predictions of a trained model for any number of images: `mmmim.predict`."""

import hashlib
import json
import os
import os.path as osp
from contextlib import suppress
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
from torch.utils.data import DataLoader, Dataset

from ..checkpoint import atomic_write_text
from ..config.check_values import checked
from ..datasets.inputs import Data, all_images
from ..datasets.io.image_io import ImageReadError
from ..datasets.io.list_lines import list_text
from ..datasets.loading import start_worker
from ..engine.hardware import usable_cores
from ..progress import Progress
from ..report.predictions import write_predictions
from ..visualization.predictions import read_picture
from .finetuning.stages import FOLDERS
from .label_split import FILE_NAME, LabelSplit
from .predicting import measures, outputs, shown
from .predicting.measures import Measures
from .predicting.outputs import Names
from .predicting.parts import MASKS, OVERLAYS, Parts, Record
from .predicting.predictor import THRESHOLD, Options, Predictor
from .predicting.results import Segmentation
from .predicting.truth import Masks, Truth, categories, read_classes, read_coco
from .trained import CLASSIFICATION, DETECTION, SEGMENTATION, Trained, open_trained

TABLE, SUMMARY, PAGE, UNREADABLE = 'predictions.csv', 'predictions.json', 'predictions.html', 'unreadable.txt'
RESULTS, IMAGES = 'detections.json', 'images.json'
BATCH = {CLASSIFICATION: 64, SEGMENTATION: 1, DETECTION: 2}  # images at once
TOP = 5  # classes of an image that are kept


class Predictions(NamedTuple):
    """What :func:`predict` wrote.

    Attributes:
        out: The folder.
        task: ``'classification'``, ``'segmentation'`` or ``'detection'``.
        images: How many have predictions.
        rows: Of ``predictions.csv``.
        held_out: Images without a row, as they are held out for selection or report in the split of the model.
        below: Images without a row, as their confidence is below ``min_confidence``.
        unreadable: Images that cannot be read; they are listed in ``unreadable.txt``.
        measures: By the labels; None without any.
        table, page: ``predictions.csv`` and ``predictions.html``.
        notes: Sentences on what was left out.
    """

    out: str
    task: str
    images: int
    rows: int
    held_out: int
    below: int
    unreadable: int
    measures: Optional[Measures]
    table: str
    page: str
    notes: List[str]


class _Work(NamedTuple):
    """A call, checked."""

    out: str
    predictor: Predictor
    options: Options
    root: str
    names: List[str]  # of the images, relative to the root
    files: Names
    overlays: bool

    def path(self, index: int) -> str:
        return osp.join(self.root, self.names[index])


@checked
def predict(
    model: str,
    data: Data,
    out: str,
    *,
    config: Optional[str] = None,
    labels: Optional[str] = None,
    min_confidence: float = 0.0,
    held_out: bool = False,
    threshold: float = THRESHOLD,
    tile: Optional[int] = None,
    overlap: Optional[int] = None,
    overlays: bool = True,
    batch_size: Optional[int] = None,
    num_workers: Optional[int] = None,
    device: Optional[str] = None,
) -> Predictions:
    """Predict all images of a folder, a list, a table or tars, with a model that was trained for a task.

    The same call goes on where one was stopped, and does nothing anew where one has ended. A folder gets

    - ``predictions.csv``, a row an image. Of a classifier ``file,class,probability`` (of a multi-label model
      ``file,labels,probabilities,confidence``): a label file for further training;
    - ``predictions.html``, some hundred images, those of the least confidence first;
    - of a segmentor ``masks/`` with the names of the images: grey values are the numbers of the classes, at the size of
      the upright image; of a detector ``detections.json``, results in COCO's format, with the images that it numbers
      in ``images.json``; of both ``overlays/``;
    - ``predictions.json`` with counts and measures, and ``unreadable.txt``.

    Args:
        model: A folder that ``mmmim finetune`` or ``mmmim train`` has made, or a checkpoint file of a task.
        data: A folder, of which all images are taken, a list, a table, tars, or several of them, as
            :func:`mmmim.pretrain` takes.
        out: The folder.
        config: Of a checkpoint file that has none beside it.
        labels: To measure by: a csv file (file, label) or class folders; a folder of index masks; a COCO json.
        min_confidence: Images of less confidence get no row in ``predictions.csv``; in 0..1.
        held_out: Whether images get a row that are held out for selection or report in the model's ``labels.json``
            (the same files, and copies of them). To train on those would spoil what they measure.
        threshold: Least probability of a class of a multi-label model, least score of an object in overlays and counts.
        tile, overlap: Segmentation of large images by squares of so many pixels, that overlap by so many (a quarter of
            them); logits are averaged. An image that fits into one is taken whole.
        overlays: Whether pictures of masks and objects over the images are written.
        batch_size: Images at once; None: by the task. Images of different sizes are segmented one by one.
        num_workers: Processes that read images; None: one per core, at most 8.
        device: Such as ``'cuda:1'``; None: a GPU if there is one.

    Raises:
        FileNotFoundError: No such model, data or labels; no config beside a checkpoint.
        ValueError: Options that cannot be; a model of no task, or of landmarks; labels that do not fit; ``out`` holds
            something else; none of the images can be read.
        ImportError: The toolbox of the task is not installed.
        CheckpointWriteError: The disk is full: the same call goes on.
    """
    if not 0 <= min_confidence <= 1:
        raise ValueError(f'min_confidence={min_confidence} must lie in 0..1')
    if batch_size is not None and batch_size < 1:
        raise ValueError(f'batch_size={batch_size} must be at least 1')
    out = osp.abspath(osp.expanduser(out))
    trained = open_trained(model, config)
    predictor = Predictor(trained, device)
    options = predictor.options(TOP, threshold, tile, overlap)
    root, names, said = _images(data, out)
    work = _Work(out, predictor, options, root, names, Names(names), overlays)
    facts = _facts(work)  # first, as masks to measure by settle the config
    truth = _truth(work, labels)
    parts = Parts(out, facts)
    for line in said:
        print(line)
    _predict(work, parts, batch_size or BATCH[trained.task], num_workers)
    return _finish(work, parts, truth, labels, min_confidence, held_out)


def _images(data: Data, out: str) -> Tuple[str, List[str], List[str]]:
    """Root, names and sentences; without what an earlier call wrote to ``out``.

    Raises:
        ValueError: ``out`` is what is to be read, or a file.
        FileNotFoundError: There is no image.
    """
    sources = [data] if isinstance(data, (str, os.PathLike)) else data
    read = {osp.realpath(osp.expanduser(source)) for source in sources}
    if {osp.realpath(out), osp.realpath(osp.join(out, TABLE))} & read:
        raise ValueError(f'out={out!r} would overwrite what is given as data: use another folder for out')
    if osp.exists(out) and not osp.isdir(out):
        raise ValueError(f'out={out!r} is a file: predictions are written to a folder')
    root, names, said = all_images(data)
    own = f'{osp.relpath(out, root)}/'
    if any(name.startswith(own) for name in names):
        names = [name for name in names if not name.startswith(own)]
    if not names:
        raise FileNotFoundError(f'there are no images under {data!r}')
    return root, names, said


def _facts(work: _Work) -> Dict[str, Any]:
    """What predictions depend on."""
    trained: Trained = work.predictor.trained
    status = os.stat(trained.checkpoint)
    listed = hashlib.sha256('\0'.join([work.root, *work.names]).encode(errors='surrogatepass')).hexdigest()[:16]
    config = hashlib.sha256(repr(trained.cfg._cfg_dict.to_dict()).encode(errors='surrogatepass')).hexdigest()[:16]
    return dict(
        model=osp.abspath(trained.checkpoint),
        weights=f'{status.st_size} bytes, {status.st_mtime_ns}',
        config=config,
        images=f'{len(work.names)} below {work.root}, {listed}',
        threshold=work.options.threshold,
        tile=list(work.options.tiles) if work.options.tiles else None,
        overlays=work.overlays,
    )


# -------------------------------------------------------------------------------------------------------- the long part


class _Listed(Dataset):
    """``(place, sample, reason)``; without a sample the reason why the image cannot be read."""

    def __init__(self, work: _Work, first: int) -> None:
        self.work, self.first = work, first

    def __len__(self) -> int:
        return len(self.work.names) - self.first

    def __getitem__(self, index: int) -> Tuple[int, Optional[Dict[str, Any]], str]:
        place = self.first + index
        path = self.work.path(place)
        try:
            if self.work.options.tiles is not None:  # cut where it is predicted
                return place, dict(path=path), ''
            return place, self.work.predictor.prepare(path, place), ''
        except (ImageReadError, ValueError) as error:
            return place, None, str(error)


def _predict(work: _Work, parts: Parts, batch_size: int, num_workers: Optional[int]) -> None:
    """Predict what has no record yet."""
    total = len(work.names)
    if parts.done >= total:
        return
    work.predictor.model  # noqa: B018  (settles the config of the pipeline before workers start)
    dataset = _Listed(work, parts.done)
    dataset.work.predictor._of_files  # noqa: B018
    if num_workers is None:  # a few batches are not worth a process
        num_workers = min(usable_cores(), 8, len(dataset) // max(4 * batch_size, 16))
    workers = 0 if work.options.tiles is not None else num_workers
    loader = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=list, worker_init_fn=start_worker)
    progress = Progress(total, 'predicting', initial=parts.done)
    unreadable = 0
    try:
        for items in loader:
            records = _records(work, items)
            unreadable += sum('error' in found for found in records)
            parts.add(records)
            progress.update(len(items), **(dict(unreadable=unreadable) if unreadable else {}))
    except KeyboardInterrupt as stopped:
        parts.flush()
        raise KeyboardInterrupt(f'stopped after {parts.done} of {total} images: the same call goes on') from stopped
    except Exception:  # such as a GPU without memory: what is finished stays
        with suppress(OSError):
            parts.flush()
        raise
    finally:
        progress.close()
    parts.flush()


def _records(work: _Work, items: Sequence[Tuple[int, Optional[Dict[str, Any]], str]]) -> List[Record]:
    """Of a batch, in its order; masks and overlays are written."""
    predictor, options = work.predictor, work.options
    found: Dict[int, Record] = {place: dict(error=reason) for place, sample, reason in items if sample is None}
    ready = [(place, sample) for place, sample, _ in items if sample is not None]
    if options.tiles is not None:
        for place, sample in ready:
            try:
                found[place] = _written(work, place, predictor.by_tiles(sample['path'], options.tiles, place))
            except ImageReadError as error:
                found[place] = dict(error=str(error))
    else:
        keep_all = options._replace(threshold=0.0)  # what is left out is decided when files are written
        results = predictor.results([sample for _, sample in ready], keep_all) if ready else []
        for (place, _), result in zip(ready, results):
            found[place] = _written(work, place, result)
    return [dict(found[place], place=place, file=work.path(place)) for place, *_ in items]


def _written(work: _Work, place: int, result: Any) -> Record:
    """The record of a result, once its mask and overlay are on the disk."""
    task = work.predictor.task
    if task == CLASSIFICATION:
        scores = None
        if work.predictor.multi_label:
            scores = np.zeros(len(result.labels))
            scores[result.labels] = result.probabilities
        return outputs.record(result, None if scores is None else scores.tolist())
    found = outputs.record(result)
    if isinstance(result, Segmentation):
        found['mask'] = work.files.of(place, '.png')
        outputs.write_mask(result.mask, osp.join(work.out, MASKS, found['mask']))
    if work.overlays or task == DETECTION:
        image = read_picture(work.path(place), work.predictor.trained.cfg)
        found['size'] = list(image.shape[:2])
        if work.overlays:
            drawn = result.mask if task == SEGMENTATION else outputs.instances(found, work.options.threshold)
            picture = outputs.overlay(image, drawn, work.predictor.classes)
            outputs.write_overlay(picture, osp.join(work.out, OVERLAYS, work.files.of(place, '.jpg')))
    return found


# -------------------------------------------------------------------------------------------------- what is made of it


def _truth(work: _Work, labels: Optional[str]) -> Any:
    """The labels of the images: a :class:`Truth`, or :class:`Masks` of a segmentor; None without labels."""
    if labels is None:
        return None
    predictor, files = work.predictor, [work.path(i) for i in range(len(work.names))]
    if predictor.task == CLASSIFICATION:
        return read_classes(labels, work.root, files, predictor.classes, predictor.multi_label)
    if predictor.task == SEGMENTATION:
        predictor.model  # noqa: B018  (settles what its data set states of masks)
        return Masks(labels, work.root, work.names, predictor.trained.cfg)
    return read_coco(osp.expanduser(labels), work.root, files, predictor.classes)


class _Split(NamedTuple):
    """Which of the images belong to the split of the model's labels."""

    parts: Dict[str, str]  # file -> fit, selection or report
    known: bool = True

    @property
    def held_out(self) -> Set[str]:
        return {file for file, part in self.parts.items() if part != 'fit'}


def _split(work: _Work) -> _Split:
    """By the ``labels.json`` beside the model, or beside the stages of which it is one."""
    folder = osp.dirname(osp.abspath(work.predictor.trained.checkpoint))
    folders = [folder, osp.dirname(folder)] if osp.basename(folder) in FOLDERS.values() else [folder]
    found = next((place for place in folders if osp.isfile(osp.join(place, FILE_NAME))), None)
    if work.predictor.task != CLASSIFICATION or found is None:
        return _Split({}, work.predictor.task != CLASSIFICATION)
    return _Split(LabelSplit.read(found).parts_of(map(work.path, range(len(work.names)))))


def _measurable(work: _Work, places: Iterable[int], split: _Split) -> Tuple[Set[int], List[str]]:
    """Labelled images that measure: none that the model was fitted on or chosen by, where others remain; else those
    that chose it. Also sentences on it."""
    of: Dict[str, Set[int]] = dict(fit=set(), selection=set(), report=set())
    for place in places:
        of[split.parts.get(work.path(place), 'report')].add(place)  # an unknown image measures as well
    kept = of['report'] or of['selection'] or of['fit']
    count, notes = sum(map(len, of.values())), []
    for part, what in (('fit', 'fitted on'), ('selection', 'what the model was chosen by')):
        if of[part] and kept is not of[part]:
            notes.append(
                f'{len(of[part])} of the {count} labelled images were {what}; they are left out of the measures'
            )
    if kept is of['selection'] and kept:
        notes.append(f'{len(kept)} of the {count} labelled images chose the model: the numbers tend to be too good')
    elif kept is of['fit'] and kept:
        notes.append(f'{count} of the {count} labelled images were fitted on: the numbers say nothing of other images')
    return kept, notes


def _measured(work: _Work, parts: Parts, truth: Any, labels: Optional[str], split: _Split) -> Optional[Measures]:
    """By the labels."""
    if truth is None:
        return None
    classes, notes = work.predictor.classes, list(truth.notes)
    readable = (found for found in parts if 'error' not in found)
    if work.predictor.task == SEGMENTATION:
        measured = measures.of_masks(work.out, readable, truth, classes)
    elif work.predictor.task == DETECTION:
        measured = measures.of_objects(readable, truth.of, osp.expanduser(str(labels)), classes)
    else:
        kept, said = _measurable(work, truth.of, split)
        notes += said
        pairs = ((found, truth.of[found['place']]) for found in readable if found['place'] in kept)
        if work.predictor.multi_label:
            measured = measures.of_several(pairs, classes, work.options.threshold)
        else:
            measured = measures.of_classes(pairs, classes)
    return measured._replace(notes=[*notes, *measured.notes])


def _finish(
    work: _Work, parts: Parts, truth: Any, labels: Optional[str], min_confidence: float, with_held_out: bool
) -> Predictions:
    """Table, results, measures and page from the records."""
    split = _split(work)
    left_out = set() if with_held_out else split.held_out
    counts = dict(images=0, held_out=0, below=0)
    bad: List[Tuple[str, str]] = []

    def rows() -> Iterator[Record]:
        for found in parts:
            if 'error' in found:
                bad.append((found['file'], found['error']))
                continue
            counts['images'] += 1
            if found['file'] in left_out:
                counts['held_out'] += 1
            elif found['confidence'] < min_confidence:
                counts['below'] += 1
            else:
                yield found

    predictor, table = work.predictor, osp.join(work.out, TABLE)
    classes = predictor.classes
    if all('error' in found for found in parts):
        first = next(iter(parts))
        raise ValueError(f'none of the {len(work.names)} images can be read; the first: {first["error"]}')
    of = outputs.columns(predictor.task, classes, predictor.multi_label, work.options.threshold)
    written = outputs.write_table(table, of, rows())
    atomic_write_text(osp.join(work.out, UNREADABLE), list_text(file for file, _ in bad))
    notes = _notes(counts, bad, min_confidence, with_held_out, split)
    if predictor.task == DETECTION:
        notes += _write_coco(work, parts, truth, labels)
    measured = _measured(work, parts, truth, labels, split)
    page = osp.join(work.out, PAGE)
    result = Predictions(
        work.out, predictor.task, counts['images'], written, counts['held_out'], counts['below'], len(bad), measured,
        table, page, notes,
    )  # fmt: skip
    classes_of = truth.of if truth is not None and predictor.task == CLASSIFICATION else None
    of_page = shown.page(parts, predictor, work.out, work.options.threshold, work.root, classes_of)
    write_predictions(page, **of_page, result=result._asdict(), model=predictor.trained.checkpoint)
    summary = dict(
        result._asdict(), measures=None if measured is None else measured._asdict(), first_unreadable=bad[:100]
    )
    atomic_write_text(osp.join(work.out, SUMMARY), json.dumps(summary, indent=1))
    return result


def _notes(
    counts: Dict[str, int], bad: List[Tuple[str, str]], min_confidence: float, with_held_out: bool, split: _Split
) -> List[str]:
    notes = []
    if not split.known:
        notes.append(f'no {FILE_NAME} beside the model: which images it was trained on is not known, none is left out')
    if counts['held_out']:
        notes.append(
            f'{counts["held_out"]} images have no row: the model holds them out for selection or report '
            '(--with-held-out writes them, too)'
        )
    elif with_held_out and split.held_out:
        notes.append(f'{len(split.held_out)} rows are of held-out images (selection or report): not to be trained on')
    if counts['below']:
        notes.append(f'{counts["below"]} images have no row: their confidence is below {min_confidence:g}')
    if bad:
        notes.append(f'{len(bad)} images cannot be read ({UNREADABLE}); the first: {bad[0][1]}')
    return notes


def _write_coco(work: _Work, parts: Parts, truth: Optional[Truth], labels: Optional[str]) -> List[str]:
    """Results in COCO's format, and the images that they number; returns sentences."""
    predictor = work.predictor
    kinds, note = categories(predictor.trained.cfg, predictor.classes, osp.expanduser(labels or ''))
    known = truth.of if truth is not None else {}
    first = max([0, *(number for number in known.values() if isinstance(number, int))]) + 1

    def number(found: Record) -> Any:
        place = found['place']
        return known[place] if place in known else first + place

    def readable() -> Iterator[Record]:
        return (found for found in parts if 'error' not in found)

    outputs.write_coco(osp.join(work.out, RESULTS), readable(), number, kinds)
    outputs.write_coco_images(osp.join(work.out, IMAGES), readable(), number, work.root, kinds)
    return [note] if note else []
