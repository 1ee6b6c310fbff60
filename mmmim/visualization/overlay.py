"""Labels drawn over pictures."""

import colorsys
from typing import Any, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

OVERLAY = 0.5  # share of a label's colour over the picture
TILE = 192  # approximate side to which small images are enlarged before labels are drawn


def color_of(index: int) -> Tuple[int, int, int]:
    """A colour for a class; neighbours are far apart in hue."""
    hue, level = (0.61803398875 * index) % 1.0, index % 3
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.75, 1.0 - 0.2 * level))


def enlarged(image: np.ndarray) -> Tuple[np.ndarray, int]:
    """``image [H, W, 3]`` and the whole factor by which it was enlarged, so that boxes and names do not cover it."""
    factor = max(1, round(TILE / max(image.shape[:2])))
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)), factor


def paint_mask(image: np.ndarray, mask: np.ndarray, ignore: int = 255, factor: int = 1) -> np.ndarray:
    """``image [H, W, 3]`` uint8 under a mask of classes ``[H / factor, W / factor]``; where it is ``ignore``, the image
    is unchanged."""
    palette = np.array([color_of(i) for i in range(256)], dtype=np.float32)
    mask = mask.repeat(factor, 0).repeat(factor, 1)
    painted = OVERLAY * palette[mask.clip(0, 255)] + (1 - OVERLAY) * image
    return np.where((mask != ignore)[..., None], painted, image).round().astype(np.uint8)


def paint_instances(
    image: np.ndarray, instances: Any, classes: Optional[Sequence[str]] = None, factor: int = 1
) -> np.ndarray:
    """``image [H, W, 3]`` uint8 with mmdet's instances: masks if there are any, boxes, and the names of ``classes`` or,
    without them, their numbers. Instances are in pixels of the image before it was enlarged."""
    labels = instances.labels.tolist()
    boxes = getattr(instances.bboxes, 'tensor', instances.bboxes) * factor
    if 'masks' in instances:
        masks = instances.masks.to_ndarray() if hasattr(instances.masks, 'to_ndarray') else instances.masks.numpy()
        for mask, label in zip(masks, labels):
            image = paint_mask(image, np.where(mask.astype(bool), label % 255, 255), factor=factor)
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for box, label in zip(boxes.tolist(), labels):
        pen.rectangle(box, outline=color_of(label % 255), width=2)
        pen.text((box[0] + 3, box[1] + 1), name_of_class(label, classes), color_of(label % 255))
    return np.asarray(picture).copy()


def paint_points(image: np.ndarray, points: np.ndarray, factor: int = 1) -> np.ndarray:
    """``image [H, W, 3]`` uint8 with a dot at each of ``points [N, 2]`` (x, y), in pixels of the image before it was
    enlarged; centres of pixels are whole numbers."""
    picture = Image.fromarray(image)
    pen, radius = ImageDraw.Draw(picture), max(image.shape[:2]) / 300
    for x, y in ((points + 0.5) * factor - 0.5).tolist():
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color_of(0))
    return np.asarray(picture).copy()


def name_of_class(label: int, classes: Optional[Sequence[str]]) -> str:
    """The name of a class if there is one, else its number."""
    return str(classes[label]) if classes and label < len(classes) else str(label)
