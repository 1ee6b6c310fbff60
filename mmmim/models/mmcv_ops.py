"""torchvision's operators in place of mmcv's compiled ones, for detection without a C++ compiler.

mmdet imports ``mmcv.ops``, and with it the extension ``mmcv._ext``, which a plain ``pip install`` does not compile.
Mask R-CNN and Cascade Mask R-CNN call three of its operators: non-maximum suppression (NMS), RoIAlign, and RoIAlign's
gradient. torchvision has the same three, compiled, for the CPU and for CUDA.
"""

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable, Optional

import torch
import torchvision
from torch import Tensor

COMPILE = (
    "compile mmcv's own with `MMCV_WITH_OPS=1 pip install --no-build-isolation --no-cache-dir --no-deps "
    '--force-reinstall onedl-mmcv`, which needs ninja, setuptools<81, wheel, a C++ compiler and, for a GPU, nvcc'
)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: ``[N, 4]``, corners ``x1, y1, x2, y2`` in pixels.
        scores: ``[N]``.
        iou_threshold: A box that overlaps a better one by more than this is dropped.
        offset: Added to each width and height: 1 where corners are counted in whole pixels, as in older data sets.

    Returns:
        Indices of the boxes that are kept, best first.
    """
    boxes = _at_least_float32(boxes)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign, written into ``output``.

    Args:
        input: Feature maps ``[B, C, H, W]``.
        rois: ``[N, 5]``: index of the image, then the corners in pixels of the image.
        output: ``[N, C, aligned_height, aligned_width]``.
        argmax_y: For maximum pooling; not used, as ``argmax_x``.
        pool_mode: 1: the mean of the samples in a bin.
        aligned: Whether the centre of a pixel is half a pixel from its corner.

    Raises:
        NotImplementedError: ``pool_mode=0``, the maximum, which torchvision does not have.
    """
    if pool_mode != 1:
        raise NotImplementedError(f"torchvision's RoIAlign has no maximum (pool_mode='max'); {COMPILE}")
    maps, boxes = _at_least_float32(input), rois.to(torch.promote_types(input.dtype, torch.float32))
    size = (aligned_height, aligned_width)
    # the operator itself: torchvision's function is slow when deterministic algorithms are requested
    operator = torch.ops.torchvision.roi_align
    output.copy_(operator(maps, boxes, spatial_scale, *size, sampling_ratio, aligned))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of RoIAlign with respect to the feature maps, written into ``grad_input``; arguments as above."""
    gradient = _at_least_float32(grad_output)
    operator = torch.ops.torchvision._roi_align_backward
    found = operator(
        gradient,
        rois.to(gradient.dtype),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(found)


def _at_least_float32(x: Tensor) -> Tensor:
    """mmcv's and torchvision's operators take half precisions on some devices only."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _missing(name: str) -> Callable:
    def operator(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"mmcv's operator {name} is not compiled here, and torchvision has none; {COMPILE}")

    return operator


class TorchvisionOps(ModuleType):
    """The module ``mmcv._ext``; operators that it does not have are errors when they are called, not at import."""

    nms = staticmethod(nms)
    roi_align_forward = staticmethod(roi_align_forward)
    roi_align_backward = staticmethod(roi_align_backward)
    # mmcv's environment report needs these two
    get_compiler_version = staticmethod(lambda: 'not compiled')
    get_compiling_cuda_version = staticmethod(lambda: 'not available')

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(name)
        return _missing(name)


def provide_ops(required: bool = True) -> None:
    """Make ``mmcv.ops`` importable: with mmcv's compiled operators if they work, else with torchvision's.

    Call it before anything imports mmdet (mmpretrain's and mmseg's models do): mmdet replaces operators that it does
    not find by functions that fail. Warns of installed compiled operators that do not work: those of another torch, or
    without CUDA beside a GPU.

    Args:
        required: Whether it is an error that mmdet was imported before, as it is for code that calls its operators.

    Raises:
        ImportError: mmdet was imported before, without operators.
    """
    try:
        misfit = _misfit(importlib.import_module('mmcv._ext'))
        if misfit is None:
            return
        _warn(misfit)
    except ModuleNotFoundError as error:
        if error.name != 'mmcv._ext':
            raise
    except (ImportError, OSError) as error:
        _warn(f'do not load with torch {torch.__version__} ({error})')
    if sys.modules.keys() & {'mmdet.models', 'mmdet.structures'}:
        if required:
            raise ImportError(
                'mmdet was imported before its operators were there, by itself or by mmpretrain or mmseg: in a new '
                'process, import mmmim.models.mmdet_parts first'
            )
        return
    module = TorchvisionOps('mmcv._ext', __doc__)
    module.__spec__ = ModuleSpec('mmcv._ext', None)  # pkgutil.find_loader('mmcv._ext') needs it
    sys.modules['mmcv._ext'] = module


def _misfit(ops: Any) -> Optional[str]:
    """Why operators that load cannot be used here, or None. Those of another torch fail when they are called."""
    if isinstance(ops, TorchvisionOps):
        return None
    try:
        twice = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2)
        kept = ops.nms(twice, torch.tensor([0.5, 1.0]), iou_threshold=0.5, offset=0).tolist()
    except Exception as error:
        return f'fail with torch {torch.__version__} ({str(error).partition(chr(10))[0]})'
    if kept != [1]:
        return f'are wrong with torch {torch.__version__} (of two boxes in one place NMS keeps {kept})'
    if torch.cuda.is_available() and ops.get_compiling_cuda_version() == 'not available':
        return 'were compiled without CUDA'
    return None


def _warn(reason: str) -> None:
    warnings.warn(f"mmcv's compiled operators {reason}; torchvision's are used. Or {COMPILE}", stacklevel=3)
