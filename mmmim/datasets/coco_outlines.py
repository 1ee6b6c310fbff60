"""Outlines of objects in COCO's format: which of them are masks of their image.

An outline is a list of polygons, each ``[x1, y1, x2, y2, ...]`` in pixels, or run lengths: ``dict(size=[height, width],
counts)``, where ``counts`` are pixels outside and inside of the object in turns, column by column, as a list of numbers
or as pycocotools' text of them. mmdet and pycocotools take the rest without a check: an object is dropped or learned
with an empty mask, four numbers are read as a box, or the process ends in the middle of their code.
"""

import math
from typing import Any, List, Optional, Tuple

Size = Tuple[int, int]  # width, height


def usable_outline(outline: Any, size: Size) -> Tuple[Any, Optional[str]]:
    """What of an outline can be used, and what is wrong with it.

    Args:
        outline: What an annotation has as ``segmentation``; None without it.
        size: Width and height of the image.

    Returns:
        ``(outline, None)`` for a whole one; ``(polygons, reason)`` where some of its polygons are usable; ``(None,
        reason)`` otherwise. A reason follows a number of objects: ``without an outline``.
    """
    if outline is None or outline == [] or outline == '':
        return None, 'without an outline'
    if isinstance(outline, dict):
        reason = _wrong_in_runs(outline, size)
        return (None if reason else outline), reason
    if not isinstance(outline, list):
        return None, 'whose outline is neither a list of polygons nor run lengths'
    if any(isinstance(part, (int, float)) for part in outline):
        return None, 'whose outline is one flat list of numbers, not a list of polygons'
    reasons = [_wrong_in_polygon(part, size) for part in outline]
    if not any(reasons):
        return outline, None
    usable = [part for part, reason in zip(outline, reasons, strict=True) if reason is None]
    return (usable or None), next(filter(None, reasons))


def _wrong_in_polygon(polygon: Any, size: Size) -> Optional[str]:
    try:
        finite = math.isfinite(sum(polygon))
    except (TypeError, OverflowError):  # texts, null, points as pairs
        finite = False
    if not finite:
        return 'with a polygon that is no list of finite numbers [x1, y1, x2, y2, ...]'
    if len(polygon) < 6:
        return 'with a polygon of fewer than three points'
    if len(polygon) % 2:
        return 'with a polygon of an odd count of numbers'
    x, y = polygon[::2], polygon[1::2]
    left, right, top, bottom = min(x), max(x), min(y), max(y)
    if left >= size[0] or top >= size[1] or right <= 0 or bottom <= 0:
        return 'with a polygon outside of the image'
    if left == right or top == bottom or max(right - left, bottom - top) < 1:
        return 'with a polygon that covers no pixel (its numbers are pixels, not shares of the image)'
    return None


def _wrong_in_runs(runs: dict, size: Size) -> Optional[str]:
    width, height = size
    if runs.get('size') != [height, width]:
        return 'whose run lengths have another `size` than [height, width] of the image'
    counts = runs.get('counts')
    try:
        lengths = read_runs(counts) if isinstance(counts, str) else list(counts or ())
        total, readable = sum(lengths), min(lengths, default=-1) >= 0 and all(isinstance(n, int) for n in lengths)
    except (TypeError, ValueError):
        readable = False
    if not readable:
        return 'whose run lengths (`counts`) cannot be read'
    if total != width * height:
        return 'whose run lengths do not add up to the pixels of the image'
    return None if sum(lengths[1::2]) else 'whose run lengths cover no pixel'


def read_runs(text: str) -> List[int]:
    """The run lengths in pycocotools' text.

    A character holds six bits above the code of ``0``: five of a number, lowest first, and 32 if more follow. The bit
    below the last five bits' end is the sign. From the third number on, each is the difference to the last but one.

    Raises:
        ValueError: It is no such text.
    """
    lengths: List[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f'{character!r} is no character of run lengths')
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError('the last number is cut off')
    return lengths
