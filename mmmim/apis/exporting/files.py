"""A graph in a file, ``model.onnx`` or ``model.pt2``, and what the file computes, beside what the model does."""

import importlib
import importlib.util
import inspect
import io
import json
import logging
import re
import sys
import warnings
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental import _config as shapes

from ...checkpoint.write import atomic_write_bytes
from .subjects import Subject

INPUT = 'pixels'
KEY = 'mmmim'  # of the description inside of a file
ONNX, TORCH = 'onnx', 'torch'
PACKAGES = {ONNX: ('onnx', 'onnxscript', 'onnxruntime'), TORCH: ()}
TRACED = 2  # images that a graph is recorded with; it is checked with another number
TOLERANCE = 1e-4  # in float32: of probabilities, and of features as a share of the largest
_LARGEST = 2**31 - 2**24  # bytes of one file of ONNX, which is one message of protobuf


class Difference(RuntimeError):
    """A file computes something else than the model."""


def check_packages(kind: str) -> None:
    """Raises ModuleNotFoundError, which names the extra, where a format needs what is not installed."""
    missing = [name for name in PACKAGES[kind] if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f'--format {kind} needs {", ".join(missing)}: pip install ".[export]" in a clone', name=missing[0]
        )


def record(subject: Subject, dtype: torch.dtype) -> torch.export.ExportedProgram:
    """The graph, for any number of images, and for any height and width where the model allows it.

    Raises:
        ValueError: torch.export cannot record the model; the message has its reason.
    """
    axes = {0: torch.export.Dim.DYNAMIC}
    if subject.free:
        axes.update({2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC})
    blank = torch.zeros(TRACED, subject.pixels.channels, *subject.size, dtype=dtype)
    try:
        # without that, one window or one image would be another program than several
        with _quiet(), torch.no_grad(), _any_count():
            return torch.export.export(subject.graph.eval(), (blank,), dynamic_shapes=(axes,))
    except Exception as error:  # of torch's own kinds, and whatever the model raises on what it cannot decide
        raise ValueError(f'torch.export cannot record this model: {_first_lines(error)}') from error


def write_onnx(program: torch.export.ExportedProgram, subject: Subject, facts: Dict[str, Any], path: str) -> None:
    """Write ``model.onnx`` with its description in ``metadata_props``.

    Raises:
        ValueError: It takes more than 2 GB, or an operator has no counterpart.
    """
    weights = sum(value.numel() * value.element_size() for value in program.state_dict.values())
    if weights > _LARGEST:
        raise ValueError(
            f'the weights take {weights / 2**30:.1f} GB, and a file of ONNX holds 2 at most: --format torch'
        )
    try:
        with _quiet(), torch.no_grad():
            made = torch.onnx.export(
                program, input_names=[INPUT], output_names=list(subject.outputs), dynamo=True, verbose=False
            )
    except Exception as error:  # torch.onnx wraps whatever a translation raises
        raise ValueError(f'this model cannot be translated to ONNX: {_first_lines(error)}') from error
    assert made is not None
    model = made.model_proto
    _name_axes(model, ['batch', 'channels', 'height', 'width'])
    for key, value in ((KEY, facts), ('classes', facts.get('classes'))):
        if value is not None:
            model.metadata_props.add(key=key, value=json.dumps(value))
    atomic_write_bytes(model.SerializeToString(), path)


def _name_axes(model: Any, names: List[str]) -> None:
    """Call the free axes of the input by words, and with them those that follow."""
    axes = model.graph.input[0].type.tensor_type.shape.dim
    new = {axis.dim_param: name for axis, name in zip(axes, names) if axis.dim_param}
    pattern = re.compile('|'.join(rf'\b{re.escape(name)}\b' for name in new))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = pattern.sub(lambda found: new[found[0]], axis.dim_param)


def write_torch(program: torch.export.ExportedProgram, subject: Subject, facts: Dict[str, Any], path: str) -> None:
    """Write ``model.pt2`` with its description as an extra file."""
    del subject
    data = io.BytesIO()  # torch's own writing of files ends the process where the disk is full
    torch.export.save(program, data, extra_files={f'{KEY}.json': json.dumps(facts)})
    atomic_write_bytes(data.getvalue(), path)


def described(path: str) -> bool:
    """Whether a file was written by :func:`write_onnx` or :func:`write_torch`."""
    needle = f'{KEY}.json'.encode() if path.endswith('.pt2') else b'"made_by": "mmmim '
    with suppress(OSError), open(path, 'rb') as file:
        return needle in file.read()
    return False


def compute(kind: str, path: str, pixels: Tensor) -> List[Tensor]:
    """The outputs of a file for a batch."""
    if kind == TORCH:
        program = torch.export.load(path)
        # the guards of an export say what was true of its example, such as that there were several windows
        known = inspect.signature(program.module).parameters
        with torch.no_grad():
            found = program.module(**({'check_guards': False} if 'check_guards' in known else {}))(pixels)
        return list(found) if isinstance(found, tuple) else [found]
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return [torch.from_numpy(array) for array in session.run(None, {INPUT: pixels.numpy()})]


def check(kind: str, path: str, subject: Subject, batches: List[Tensor], dtype: torch.dtype) -> Tuple[float, int]:
    """Compare a file with the model.

    Args:
        batches: Images as the pipeline gives them, each of one size.

    Returns:
        The largest difference, and the images of the largest batch.

    Raises:
        Difference: It is more than :data:`TOLERANCE`, or classes differ.
    """
    largest, most = 0.0, 0
    for batch in batches:
        batch = batch if len(batch) > TRACED else torch.cat([batch, batch, batch])[: TRACED + 1]
        most = max(most, len(batch))
        expected = subject.reference(batch)
        pixels = (batch.flip(1) if subject.pixels.bgr else batch).to(dtype)
        found = compute(kind, path, pixels.contiguous())
        scores, wanted = found[-1].float(), expected[-1].float()
        if scores.shape != wanted.shape:
            raise Difference(f'{list(scores.shape)} values came for a batch of {list(pixels.shape)}')
        largest = max(largest, float((scores - wanted).abs().max()))
        if not largest <= TOLERANCE * max(1.0, float(wanted.abs().max())):  # also where it is not a number
            raise Difference(f'its {list(subject.outputs)[-1]} differ by up to {largest:.2g} from the model')
        _check_classes(subject, found, wanted)
    return largest, most


def _check_classes(subject: Subject, found: List[Tensor], wanted: Tensor) -> None:
    """Whether the likeliest class is the model's; of two that are as likely, either may be."""
    if 'probabilities' in subject.outputs:
        chosen = found[0].long() if 'mask' in subject.outputs else found[-1].argmax(1)
        short = wanted.amax(1) - wanted.gather(1, chosen[:, None])[:, 0]
        if float(short.max()) > 2 * TOLERANCE:
            raise Difference(f'{int((short > 2 * TOLERANCE).sum())} of {short.numel()} classes are others')


def _any_count() -> Any:
    """Sizes of one are recorded as any other, where this torch can be told so (from 2.7 on)."""
    known = hasattr(shapes, 'backed_size_oblivious')
    return shapes.patch(backed_size_oblivious=True) if known else nullcontext()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of the exporters on their own inside."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def _first_lines(error: BaseException) -> str:
    return ' '.join(str(error).split())[:300] or type(error).__name__


def versions(kind: str) -> Dict[str, str]:
    """Of what made a file."""
    names = ('torch', *PACKAGES[kind])
    found = {name: str(getattr(importlib.import_module(name), '__version__', '')) for name in names}
    return dict(found, python='.'.join(map(str, sys.version_info[:3])), numpy=np.__version__)
