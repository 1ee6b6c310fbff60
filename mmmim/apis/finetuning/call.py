"""`mmmim.finetune`: finds the task, and hands the request to its module."""

import importlib
import json
import os
import os.path as osp
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Dict, Optional, Sequence, Union

from ...config.check_values import checked
from ...config.paths import relative_to_here
from ...datasets.inputs import Data
from ..folder_split import write_if_changed
from ..pretrain import CALL_NAME, check_out
from ..trained import CLASSIFICATION
from .request import FILE_NAME, FineTuned, Request, Results
from .task import check_toolbox, find_task

_FREE = ('workers',)  # changes no result: the same call with another value goes on


@checked
def finetune(
    data: Data,
    out: str,
    model: Optional[str] = None,
    labels: Optional[str] = None,
    test: Optional[str] = None,
    quick: bool = False,
    share: Union[float, str, None] = None,
    per_class: Optional[int] = None,
    seeds: int = 1,
    compare: Union[str, Sequence[str], None] = None,
    balance: Optional[str] = None,
    image_size: Optional[int] = None,
    epochs: Optional[int] = None,
    hours: Optional[float] = None,
    lr: Optional[float] = None,
    batch_size: Optional[int] = None,
    seed: Optional[int] = None,
    workers: Optional[int] = None,
    **overrides: Any,
) -> FineTuned:
    """From labelled images to a model in use; the task is told from the data.

    Class folders, or a csv of (file, label): classification. A folder of images and one of masks: segmentation. A COCO
    json: detection. A classifier begins with frozen features and logistic regression, the number to beat; then the last
    blocks are trained, then all, and a stage is kept only where it is better on the selection images. The same call
    goes on with what was stopped, and does nothing where all is done.

    Args:
        data: The labelled images. With ``labels``: the folder in which its files are looked for.
        out: Folder for the model (``model.pth``, ``model.py``), the config of the training (``finetune.py``), results
            (``finetune.json``) and ``report.html``.
        model: What to start from, as of :func:`mmmim.pretrain`: a run, a file, ``'timm:NAME'``, ``'hf-hub:NAME'``, or a
            size with random weights. None: public weights.
        labels: A csv file or folder with the labels, where it is not ``data``.
        test: Labelled images that are reported, in the same forms; None: a ``test/`` folder, or a part that is drawn.
        quick: Of classification the frozen features alone, of segmentation a linear layer on them; left out later, the
            same call goes on with training.
        share: Train with this share of the labels in (0, 1], or ``'10%'``; a fixed draw.
        per_class: Train with this number of images a class; a fixed draw.
        seeds: Runs with other draws and other seeds; the mean and the spread are told.
        compare: Starts to put beside ``model``, as names of ``model`` and ``'random'``; the first row is public
            weights, frozen. The best by the selection images is the model of the folder.
        balance: Against classes of different size: ``'weights'`` in the loss, or ``'sampling'``, which repeats images.
        image_size: Pixels; None: the start's.
        epochs: Of each training; None: as many as fit into ``hours``, at most the recipe's.
        hours: Time of each training at most.
        lr: ``base_lr``, the learning rate for 256 images in a step; of segmentation and detection the optimizer's own.
        batch_size: ``total_batch_size``, images in a step.
        seed: ``randomness.seed``.
        workers: Processes that load images; the same call with another number goes on.
        **overrides: Any other setting of the config, by its dotted key, or with ``__`` for a dot.

    Returns:
        Paths of what was written, and the results.

    Raises:
        FileNotFoundError: There are no such data, labels or weights.
        ValueError: Labels that cannot be used, or a folder of another call.
        ModuleNotFoundError: The toolbox of the task is not installed; the message names the extra.
        KeyboardInterrupt: Ctrl-C; what was finished is kept, and the same call goes on.
    """
    options = dict(locals())
    options['overrides'] = {key.replace('__', '.'): value for key, value in options.pop('overrides').items()}
    options['share'] = _share(share)
    request = Request(**{**options, 'out': osp.abspath(osp.expanduser(out))})
    _check(request)
    task = find_task(request.data, request.labels)
    check_toolbox(task.name)
    print(f'{task.name}: {task.reason}', flush=True)
    check_out(request.out)
    same_call(request, task.name == CLASSIFICATION)
    try:
        return importlib.import_module(f'{__package__}.{task.name}').run(request)
    except BaseException:  # KeyboardInterrupt, too
        if not any(osp.isfile(osp.join(request.out, name)) for name in (FILE_NAME, 'finetune.py', 'quick.py')):
            with suppress(OSError):  # nothing was begun: the next call may be another
                os.remove(osp.join(request.out, CALL_NAME))
        raise


def _share(share: Union[float, str, None]) -> Optional[float]:
    """``0.1`` of ``0.1`` or ``'10%'``. Raises ValueError for what is no share."""
    if share is None:
        return None
    try:
        text = str(share).strip()
        value = float(text.removesuffix('%')) / (100 if text.endswith('%') else 1)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise ValueError(f"share={share!r}: it takes a number above 0, at most 1, or a text such as '10%'")
    return value


def _check(request: Request) -> None:
    """Raises ValueError for numbers out of their range, and for arguments that cannot be meant together."""
    for name in ('per_class', 'seeds', 'epochs', 'batch_size', 'image_size'):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise ValueError(f'{name}={value}: it takes a whole number, at least 1')
    for name in ('hours', 'lr'):
        value = getattr(request, name)
        if value is not None and not 0 < value < float('inf'):
            raise ValueError(f'{name}={value}: it takes a number above 0')
    if request.balance not in (None, 'none', 'weights', 'sampling'):
        raise ValueError(f"balance={request.balance!r}: it takes 'weights', 'sampling', 'none' or None")
    if request.workers is not None and request.workers < 0:
        raise ValueError(f'workers={request.workers}: it takes a whole number, at least 0')
    if request.share is not None and request.per_class is not None:
        raise ValueError(f'share={request.share} and per_class={request.per_class} both draw images: give one of them')
    if request.epochs is not None and request.hours is not None:
        raise ValueError(f'epochs={request.epochs} and hours={request.hours:g} both state a length: give one of them')


def same_call(request: Request, others: bool) -> None:
    """Check that a folder is of this call, or of none; and write ``call.json``.

    ``others``: whether ``compare`` may name other starts than before.

    Raises:
        ValueError: It is of another: the message names what differs, and its old value.
    """
    path = osp.join(request.out, CALL_NAME)
    now: Dict[str, Any] = json.loads(json.dumps({'command': 'finetune', **asdict(request)}, default=os.fspath))
    for name in ('data', 'labels', 'test', 'model'):
        now[name] = _absolute(now[name])
    del now['out']
    try:
        with open(path, encoding='utf-8') as file:
            before = json.load(file)
    except (OSError, ValueError):
        before = None
    if before is not None:
        more = before.get('quick') is True and not request.quick  # what was quick goes on with training
        others = others and now['compare'] is not None and before.get('compare') != now['compare']
        free = (*_FREE, *(['quick'] if more else []), *(['compare'] if others else []))
        different = [key for key in now if key not in free and before.get(key) != now[key]]
        if different:
            told = '; '.join(f'{key} was {before.get(key)!r}, is {now[key]!r}' for key in different)
            raise ValueError(
                f'{relative_to_here(request.out)} holds the results of another call: {told}. To go on, give the same '
                'arguments again; for others use another folder, or remove that one'
            )
        results = Results.read(request.out) if more or others else None
        if results is not None:
            results.finished = False
            results.write(request.out)
    write_if_changed(path, json.dumps(now, indent=1))


def _absolute(value: Any) -> Any:
    """Paths that exist, as absolute ones: the same call may come from another folder."""
    if isinstance(value, list):
        return [_absolute(one) for one in value]
    return osp.abspath(osp.expanduser(value)) if isinstance(value, str) and osp.exists(osp.expanduser(value)) else value
