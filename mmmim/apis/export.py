"""A model in a file that other programs run: ONNX, torch.export, or another project's checkpoint."""

import json
import os
import os.path as osp
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch

from ..checkpoint.newest import newest_checkpoint
from ..checkpoint.schemes import writable
from ..checkpoint.write import CheckpointWriteError, atomic_write_text, flush_folder
from ..config.check_values import checked
from ..config.load import load_config
from ..datasets.inputs import Data, all_images
from ..models.build import check_choice
from ..models.networks import EXPORTED, is_public
from ..models.patches import Size
from .convert import convert
from .exporting.description import MARK, describe, example
from .exporting.description import checked as check_facts
from .exporting.files import (
    ONNX,
    PACKAGES,
    TORCH,
    Difference,
    check,
    check_packages,
    described,
    record,
    write_onnx,
    write_torch,
)
from .exporting.subjects import ENOUGH, Subject, drawn_images, of_encoder, of_trained, own_images
from .frozen import Layer, load
from .trained import NoConfig, NoTask, Trained, is_trained, open_trained, task_of

ENDINGS = {'.onnx': ONNX, '.pt2': TORCH}
DTYPES = dict(uint8=torch.uint8, float32=torch.float32)


class Exported(NamedTuple):
    """What :func:`export` wrote.

    Attributes:
        path: The file, or timm's folder.
        format: As of :func:`export`.
        preprocessing: ``NAME.json`` beside it: input, preprocessing, outputs, classes, licence, versions; None where
            another project's checkpoint was written.
        example: ``NAME_example.py``, which uses the file without torch; None where there is none.
        difference: The largest, from what torch computes.
        batch: Images that it was checked with at once.
        images: Which these were, in words.
        notes: Sentences: what was left out, and why.
    """

    path: str
    format: str
    preprocessing: Optional[str] = None
    example: Optional[str] = None
    difference: Optional[float] = None
    batch: Optional[int] = None
    images: str = ''
    notes: Tuple[str, ...] = ()


@checked
def export(
    model: str,
    out: str,
    *,
    format: Optional[str] = None,
    image_size: Optional[Size] = None,
    layer: Layer = None,
    pool: Optional[str] = None,
    config: Optional[str] = None,
    prefix: Optional[str] = None,
    data: Optional[Data] = None,
    dtype: str = 'uint8',
    force: bool = False,
) -> Exported:
    """Write a model to a file that other programs run, and compare it with the model.

    A classifier gives probabilities, a segmentor a mask and probabilities, any other network the pooled features that
    :meth:`.Frozen.embed` gives. The input is ``[B, C, H, W]``, pixels of 0..255 with red first, for any B; it is
    normalised inside. Height and width are free for a segmentor that is tested in windows, else fixed.

    Args:
        model: A folder that was fine-tuned; or what :func:`mmmim.load` takes: a run, a file, ``'timm:NAME'`` ...
        out: The file; its folder is made.
        format: ``'onnx'``; ``'torch'``: ``torch.export``'s .pt2; or a project whose names a checkpoint gets, without
            being run: ``'mmmim'``, ``'timm'``, ``'mae'``, ``'hf'``, ``'mmpretrain'``, ``'cmae'``, ``'convmae'``. None:
            by the ending of ``out``.
        image_size: Pixels, an int or (height, width): of an encoder, or of a segmentor, whose input is fixed then.
        layer, pool, prefix: Of an encoder, as of :func:`mmmim.load`.
        config: Of a checkpoint without one beside it or inside.
        data: Images to compare with; None: the model's own, else drawn ones.
        dtype: Of the input: ``'uint8'``, or ``'float32'`` for runtimes without the other.
        force: Overwrite a file that something else has written; what mmmim exported is always overwritten.

    Raises:
        ModuleNotFoundError: The extra ``export``, or the toolbox of a task, is not installed.
        FileNotFoundError: There is no such model.
        FileExistsError: ``out`` was written by something else.
        ValueError: An unknown format or option, an option that the format does not have, or a model that cannot be
            exported: a detector is none that can.
        Difference: The file computes something else (a RuntimeError); nothing is written.
    """
    kind = _format(out, format)
    if kind not in PACKAGES:
        unused = dict(image_size=image_size, layer=layer, pool=pool, config=config, data=data)
        _check_unused(kind, dict(unused, dtype=None if dtype == 'uint8' else dtype))
        return _as_checkpoint(model, out, kind, force, prefix)
    check_packages(kind)
    check_choice('dtype', dtype, tuple(DTYPES))
    out = osp.abspath(osp.expanduser(out))
    _check_out(out, model, force)
    trained, notes = _trained(model, config)
    paths, whose = _images(model, config if trained is None else trained.config, data)
    if trained is not None:
        given = [name for name, value in dict(layer=layer, pool=pool, prefix=prefix).items() if value is not None]
        if given:
            raise ValueError(f'{", ".join(given)}: of an encoder alone, and {model} is a model of {trained.task}')
        subject = of_trained(trained, image_size, paths)
    else:
        options: Dict[str, Any] = dict(config=config, prefix=prefix, layer=layer, pool=pool, image_size=image_size)
        subject = of_encoder(load(model, device='cpu', **options))
    batches = subject.batch([dict(img_path=path) for path in paths])
    if not batches:
        batches, whose = subject.batch(list(drawn_images(subject))), f'{ENOUGH} drawn images, as there are no others'
    return _write(kind, out, model, subject, batches, whose, DTYPES[dtype], notes)


def _format(out: str, wanted: Optional[str]) -> str:
    if wanted is None:
        found = ENDINGS.get(osp.splitext(out)[1].lower())
        if found is None:
            raise ValueError(f'out={out!r} does not tell the format: end it in .onnx or .pt2, or give format')
        return found
    check_choice('format', wanted, (*PACKAGES, *writable()))
    ending = {kind: ending for ending, kind in ENDINGS.items()}.get(wanted)
    if ending is not None and not out.endswith(ending):
        raise ValueError(f'out={out!r}: a file of format={wanted!r} ends in {ending}')
    return wanted


def _check_out(out: str, model: str, force: bool) -> None:
    """Raises where a file of somebody else would be overwritten, or the model itself."""
    if osp.isdir(out) or osp.realpath(out) == osp.realpath(model):
        raise FileExistsError(f'out={out!r} is {"a folder" if osp.isdir(out) else "the model itself"}')
    for path in (out, *_beside(out)):
        if osp.exists(path) and not force and not _ours(path, out):
            raise FileExistsError(
                f'{path} exists, and mmmim export has not written it: use another out, or --force (force=True)'
            )


def _ours(path: str, out: str) -> bool:
    with suppress(OSError, ValueError, AttributeError):
        if path == out:
            return described(path)
        with open(path, encoding='utf-8') as file:
            text = file.read()
        return text.startswith(MARK) if path.endswith('.py') else 'mmmim' in json.loads(text).get('made_by', '')
    return False


def _beside(out: str) -> Tuple[str, str]:
    stem = osp.splitext(out)[0]
    return f'{stem}.json', f'{stem}_example.py'


def _trained(model: str, config: Optional[str]) -> Tuple[Optional[Trained], List[str]]:
    """A model of a task; None for an encoder, with a sentence where it could be of a task but for its config."""
    if osp.isdir(model):
        return (open_trained(model, config) if is_trained(model) else None), []
    if is_public(model) or not osp.isfile(model):
        return None, []
    if config is not None:
        return (open_trained(model, config) if task_of(load_config(config)) is not None else None), []
    try:
        return open_trained(model), []
    except NoTask:
        return None, []
    except NoConfig as error:
        exported = model.endswith('.safetensors')
        return None, [] if exported else [f'{error}. Without one its encoder alone is exported']


def _images(model: str, config: Optional[str], data: Optional[Data]) -> Tuple[List[str], str]:
    """Files to compare with, and which these are."""
    if data is None:
        paths = [] if is_public(model) else own_images(model, config)
        return paths, f"{len(paths)} images of the model's own data"
    root, names, _ = all_images(data)
    return [osp.join(root, name) for name in names[:ENOUGH]], f'{min(len(names), ENOUGH)} images of data'


def _write(
    kind: str,
    out: str,
    name: str,
    subject: Subject,
    batches: List[torch.Tensor],
    images: str,
    dtype: torch.dtype,
    notes: List[str],
) -> Exported:
    """All files or none: they are made in a folder of their own beside ``out``, compared, and moved."""
    facts, notes = describe(kind, name, subject, dtype), list(notes)
    program = record(subject, dtype)
    folder, (about, script) = osp.dirname(out), _beside(out)
    text = ''
    if kind == ONNX:
        try:
            text = example(subject, osp.basename(out), dtype)
        except ValueError as error:
            notes.append(f'no {osp.basename(script)}: {error}')
    try:
        os.makedirs(folder, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix='.mmmim_export_') as scratch:
            new = osp.join(scratch, osp.basename(out))
            (write_onnx if kind == ONNX else write_torch)(program, subject, facts, new)
            try:
                difference, batch = check(kind, new, subject, batches, dtype)
            except Difference as error:
                raise Difference(f'{out} was not written: {error}') from None
            facts['checked'] = check_facts(difference, batch, images)
            files = [(new, out), (_new(scratch, about, json.dumps(facts, indent=1)), about)]
            files += [(_new(scratch, script, text), script)] if text else []
            for made, place in files:
                os.replace(made, place)
            if not text and _ours(script, out):  # of an earlier file of this name
                os.remove(script)
            flush_folder(folder)
    except OSError as error:
        raise CheckpointWriteError(f'{out} could not be written: {error.__cause__ or error}') from error
    return Exported(out, kind, about, script if text else None, difference, batch, images, tuple(notes))


def _new(folder: str, path: str, text: str) -> str:
    new = osp.join(folder, osp.basename(path))
    atomic_write_text(new, text)
    return new


def _check_unused(kind: str, options: Dict[str, Any]) -> None:
    """Raises where something was set that translating names does not look at."""
    given = ', '.join(f'{name}={value!r}' for name, value in options.items() if value is not None)
    if given:
        raise ValueError(f'{given}: format={kind!r} translates a checkpoint as it is; these are for onnx and torch')


def _as_checkpoint(model: str, out: str, kind: str, force: bool, prefix: Optional[str]) -> Exported:
    """As `mmmim convert` writes it."""
    source = model
    if osp.isdir(model):
        encoder = osp.join(model, EXPORTED)
        source = open_trained(model).checkpoint if is_trained(model) else newest_checkpoint(model) or encoder
        if not osp.isfile(source):
            raise FileNotFoundError(f'{model!r} holds no checkpoint and no {EXPORTED}')
    elif is_public(model):
        raise ValueError(f'{model}: --format {kind} translates files; give one, or export to onnx or torch')
    return Exported(out, kind, notes=tuple(convert(source, out, kind, force=force, prefix=prefix).splitlines()))
