"""What lies beside an exported file: ``model.json`` in words, and ``model_example.py``, which needs no torch."""

from typing import Any, Dict, List

import torch

from ...version import __version__
from .files import INPUT, TOLERANCE, versions
from .subjects import FEATURES, SEGMENTATION, Subject

MADE_BY = f'mmmim {__version__}'
MARK = '# made by mmmim '  # the first line of an example begins so
_AXES = ('batch', 'channels', 'height', 'width')


def describe(kind: str, name: str, subject: Subject, dtype: torch.dtype) -> Dict[str, Any]:
    """The content of ``model.json`` but for how the file was checked.

    Args:
        kind: ``'onnx'`` or ``'torch'``.
        name: Of the model, as it was asked for.
    """
    pixels = subject.pixels
    sides: List[Any] = ['height', 'width'] if subject.free else list(subject.size)
    return dict(
        made_by=MADE_BY,
        model=name,
        task=subject.task,
        input=dict(
            name=INPUT,
            shape=['batch', pixels.channels, *sides],
            axes=list(_AXES),
            dtype=str(dtype).removeprefix('torch.'),
            values='0 to 255, as in an image file; normalised inside of the graph',
            channels='RGB' if pixels.channels == 3 else f'{pixels.channels}',
        ),
        preprocessing=pixels.words(),
        outputs=subject.outputs,
        classes=subject.classes,
        several_labels=subject.multi_label,
        licence_of_start=subject.licence,
        versions=versions(kind),
    )


def checked(difference: float, batch: int, images: str) -> Dict[str, Any]:
    """How a file was checked, for ``model.json``."""
    return dict(largest_difference=difference, tolerance=TOLERANCE, batch=batch, images=images)


def example(subject: Subject, file: str, dtype: torch.dtype) -> str:
    """A dozen lines of Python for onnxruntime, NumPy and Pillow: ``python model_example.py IMAGE ...``.

    Classes are printed, masks written to ``IMAGE.mask.png``, features to ``IMAGE.npy``.

    Raises:
        ValueError: Pillow alone does not read such images.
    """
    cast = '' if dtype == torch.uint8 else ', np.float32'
    planes = 'np.asarray(pixels' + cast + ')' + ('.transpose(2, 0, 1)' if subject.pixels.channels == 3 else '[None]')
    lines = [
        f'{MARK}{__version__}',
        'import sys',
        'import numpy as np',
        'import onnxruntime',
        'from PIL import Image, ImageOps',
        f"session = onnxruntime.InferenceSession(sys.path[0] + '/' + {file!r})",
        'for path in sys.argv[1:]:',
    ]
    run = f'session.run(None, {{{INPUT!r}: {planes}[None]}})'
    inside = [*subject.pixels.by_pillow(), *_use(subject, run)]
    return '\n'.join([*lines, *(f'    {line}' for line in inside)]) + '\n'


def _use(subject: Subject, run: str) -> List[str]:
    """The end of the loop."""
    if subject.task == FEATURES:
        return [f"np.save(path + '.npy', {run}[0][0])"]
    if subject.task == SEGMENTATION:
        return [f"Image.fromarray({run}[0][0]).resize(image.size, Image.NEAREST).save(path + '.mask.png')"]
    named = (lambda number: number) if subject.classes is None else (lambda number: f'{subject.classes!r}[{number}]')
    scores = f'scores = {run}[0][0]'
    if subject.multi_label:
        return [scores, f"print(path, *({named('i')} for i in np.flatnonzero(scores >= 0.5)), sep='\\t')"]
    return [scores, f"print(path, {named('scores.argmax()')}, scores.max(), sep='\\t')"]
