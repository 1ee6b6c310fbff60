"""Labels drawn over pictures."""
import colorsys
from typing import Any, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

OVERLAY = 0.5  # share of a label's colour over the picture


def color_of(index: int) -> Tuple[int, int, int]:
    """A colour for a class; neighbours are far apart in hue."""
    hue, level = (0.61803398875 * index) % 1.0, index % 3
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.75, 1.0 - 0.2 * level))


def paint_mask(image: np.ndarray, mask: np.ndarray, ignore: int = 255) -> np.ndarray:
    """``image [H, W, 3]`` uint8 under a mask of classes ``[H, W]``; where it is ``ignore``, the image stays."""
    palette = np.array([color_of(i) for i in range(256)], dtype=np.float32)
    painted = OVERLAY * palette[mask.clip(0, 255)] + (1 - OVERLAY) * image
    return np.where((mask != ignore)[..., None], painted, image).round().astype(np.uint8)


def paint_instances(image: np.ndarray, instances: Any, classes: Optional[Sequence[str]] = None) -> np.ndarray:
    """``image [H, W, 3]`` uint8 with what mmdet's instances say: masks where there are any, boxes, and the names of
    ``classes`` or, without them, their numbers."""
    labels = instances.labels.tolist()
    boxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
    if 'masks' in instances:
        masks = instances.masks.to_ndarray() if hasattr(instances.masks, 'to_ndarray') else instances.masks.numpy()
        for mask, label in zip(masks, labels):
            image = paint_mask(image, np.where(mask.astype(bool), label % 255, 255))
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for box, label in zip(boxes.tolist(), labels):
        pen.rectangle(box, outline=color_of(label % 255), width=2)
        pen.text((box[0] + 3, box[1] + 1), name_of_class(label, classes), color_of(label % 255))
    return np.asarray(picture).copy()


def name_of_class(label: int, classes: Optional[Sequence[str]]) -> str:
    """Its name where there is one, else its number."""
    return str(classes[label]) if classes and label < len(classes) else str(label)
