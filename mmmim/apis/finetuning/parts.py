"""Which images of a dense task are trained on, which choose the checkpoint, and which are reported."""

import json
import os.path as osp
from typing import Any, Callable, Dict, Generic, List, NamedTuple, Optional, Sequence, Set, Tuple, TypeVar

from ...config.paths import relative_to_here
from ...datasets.folder_roles import TEST, TRAIN, VALIDATION
from ..folder_split import write_if_changed
from ..image_copies import copies
from ..label_split import SHARE, place_of

T = TypeVar('T')
CONFIG_NAME = 'finetune.py'
QUICK_NAME = 'quick.py'  # of a linear layer: the full training has its own
FEWEST = 5  # images of which parts are drawn


class Parts(NamedTuple, Generic[T]):
    """The three parts, and how they were made, in words."""

    fit: List[T]
    selection: List[T]
    report: List[T]
    notes: List[str]


def divide(
    items: Sequence[T],
    part_of: Callable[[T], Optional[str]],
    name_of: Callable[[T], str],
    test: Optional[Sequence[T]] = None,
    share: Optional[float] = None,
    path_of: Optional[Callable[[T], str]] = None,
) -> Parts[T]:
    """Divide images into parts that have none in common.

    Parts that data has stay as they are. Of a validation part without a test part one half selects and the other is
    reported; what else is missing is drawn of the training images, a fifth each. Draws are by a hash of the name: an
    image stays where it is when others come.

    Args:
        items: Images.
        part_of: ``'train'``, ``'validation'``, ``'test'``, or None.
        name_of: A name that does not depend on where the data lies.
        test: Images that are reported, in the place of the data's own.
        share: Of the images to fit on that are used, a fixed draw.
        path_of: The file of an image. An image that is in two parts, by its path or as a copy of the same bytes, stays
            in the one that measures alone, then in the one that selects. None: parts are taken as they are.

    Raises:
        ValueError: Too few images for a part.
    """
    by_part: Dict[Optional[str], List[T]] = {}
    for item in items:
        by_part.setdefault(part_of(item), []).append(item)
    notes: List[str] = []
    train, free = by_part.get(TRAIN, []), by_part.get(None, [])
    if not train:
        train = free
    elif free:
        notes.append(f'{len(free):,} images in no part of the split are left out')
    validation = sorted(by_part.get(VALIDATION, []), key=lambda item: place_of(name_of(item)))
    report = list(by_part.get(TEST, []) if test is None else test)
    _check_any(train, by_part)
    train, validation, moved = _apart(train, validation, report, path_of)
    if not train:
        raise ValueError(
            'there are no images to train on: all of them also select or are reported. Give others with test, or to '
            'train on'
        )
    drawn = sorted(train, key=lambda item: place_of(name_of(item)))
    if validation and not report:
        _check_two(validation)
        half = (len(validation) + 1) // 2
        validation, report = validation[:half], validation[half:]
        notes.append('half of the validation images select the checkpoint, the others are reported')
    elif not validation or not report:
        missing = [name for name, part in (('selects', validation), ('is reported', report)) if not part]
        count = max(1, round(SHARE * len(drawn)))
        if len(drawn) < FEWEST:
            raise ValueError(
                f'{len(drawn)} images are too few to hold some out: at least {FEWEST}, of which one selects the '
                'checkpoint and another one is reported. Add images; give images to report with test, to select in val/'
            )
        notes.append(f'{count} images that {" and as many that ".join(missing)}: drawn from the training images')
        if not report:
            report, drawn = drawn[:count], drawn[count:]
        if not validation:
            validation, drawn = drawn[:count], drawn[count:]
    drawn, validation, copied = _apart(drawn, validation, report, path_of)  # of what was drawn
    if moved + copied:
        notes.append(f'{moved + copied} images that are in two parts, also as copies, are left out of the earlier one')
    if not (drawn and validation):
        raise ValueError('there are too few different images: those to train on or to select by are copies of others')
    fit = sorted(drawn, key=name_of)
    if share is not None and share < 1:
        fit = sorted(drawn, key=lambda item: place_of(name_of(item), 'share'))[: max(1, round(share * len(drawn)))]
        notes.append(f'{len(fit)} of {len(drawn)} images to train on are used, a fixed draw')
    return Parts(sorted(fit, key=name_of), sorted(validation, key=name_of), sorted(report, key=name_of), notes)


def _apart(
    train: Sequence[T], validation: Sequence[T], report: Sequence[T], path_of: Optional[Callable[[T], str]]
) -> Tuple[List[T], List[T], int]:
    """Images to train on and to select by without those that a later part has; and how many were left out."""
    if path_of is None:
        return list(train), list(validation), 0
    selecting = _without(validation, report, path_of)
    fitting = _without(train, [*selecting, *report], path_of)
    return fitting, selecting, len(train) + len(validation) - len(fitting) - len(selecting)


def _without(items: Sequence[T], others: Sequence[T], path_of: Callable[[T], str]) -> List[T]:
    same = seen_among([path_of(item) for item in items], [path_of(other) for other in others])
    return [item for item in items if path_of(item) not in same]


def seen_among(paths: Sequence[str], others: Sequence[str]) -> Set[str]:
    """Which files are others, too: by their path, without links, or as copies of the same bytes."""
    real = {osp.realpath(path) for path in others}
    return {path for path in paths if osp.realpath(path) in real} | set(copies(paths, others))


def _check_any(train: Sequence[Any], by_part: Dict[Optional[str], List[Any]]) -> None:
    if not train:
        raise ValueError(
            'there are no images to train on: all are in '
            + ' and '.join(sorted(str(part) for part in by_part))
            + '. Put some in train/, or take away the folders of parts'
        )


def _check_two(validation: Sequence[Any]) -> None:
    if len(validation) < 2:
        raise ValueError(
            'the validation part has one image: one has to select and another one to be reported. Add images, or '
            'give some to report: test'
        )


def keep_parts(out: str, parts: Parts[T], name_of: Callable[[T], str]) -> None:
    """Write the names of the images of each part to ``lists/parts.json``; they stay once there is a config.

    Args:
        out: The folder of the results.
        parts: See above.
        name_of: As of :func:`divide`.

    Raises:
        ValueError: They are others than those that this fine-tuning began with.
    """
    path = osp.join(out, 'lists', 'parts.json')
    config = next((c for c in (osp.join(out, name) for name in (CONFIG_NAME, QUICK_NAME)) if osp.isfile(c)), None)
    names = {part: [name_of(item) for item in getattr(parts, part)] for part in ('fit', 'selection', 'report')}
    text = json.dumps(names, indent=1)
    if config is not None and osp.isfile(path):
        with open(path, encoding='utf-8') as file:
            before = json.load(file)
        if before != names:
            counts = [' + '.join(f'{len(entry[part])}' for part in names) for entry in (before, names)]
            raise ValueError(
                f'the images have changed since {relative_to_here(config)} was written: it had {counts[0]} to fit, '
                f'select and report, now there are {counts[1]}. Use another folder for the results, or remove that one'
            )
    write_if_changed(path, text)


def refuse_options(request: Any, task: str) -> None:
    """Raises ValueError for arguments that only classification takes."""
    reasons = {
        'per_class': 'an image has several classes: share draws images',
        'balance': 'the losses of these models have their own ways',
    }
    for name, reason in reasons.items():
        if getattr(request, name) not in (None, 'none'):
            raise ValueError(f'{name}={getattr(request, name)!r} is for classification, not for {task}: {reason}')
    if request.seeds != 1:
        raise ValueError(
            f'seeds={request.seeds}: {task} trains once a call; call it with seed=1, seed=2 ... and a folder each'
        )
