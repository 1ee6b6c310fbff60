"""Scenes as files, in the layouts that data set classes read.

::

    train/<class>/000001.jpg                            val/<class>/...
    ade/images/training/000001.jpg                      ade/images/validation/...
    ade/annotations/training/000001.png                 ade/annotations/validation/...     ade/classes.txt
    coco/train2017/000000000001.jpg                     coco/val2017/...
    coco/annotations/instances_train2017.json           coco/annotations/instances_val2017.json

The three images of a scene are one file with three names where the file system has hard links. An index PNG has 1 + the
line of ``classes.txt``, and no 0 (what ADE20K calls unlabelled). Category ids are 1 to 10; no instance is a crowd.
"""

import json
import os
import shutil
from itertools import chain
from pathlib import Path
from typing import List

from PIL import Image

from .outlines import bounding_box, polygons
from .scene import LABELS, Scene, draw_scene
from .things import CLASSES

SPLITS = ('train', 'val')  # the place of a split is a part of its scenes' seeds
ADE_SPLITS = dict(train='training', val='validation')
JPEG_QUALITY = 92


def make_folders(root: Path) -> None:
    for split in SPLITS:
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
        (root / 'ade/images' / ADE_SPLITS[split]).mkdir(parents=True)
        (root / 'ade/annotations' / ADE_SPLITS[split]).mkdir(parents=True)
        (root / 'coco' / f'{split}2017').mkdir(parents=True)
    (root / 'coco/annotations').mkdir()


def write_scene(root: Path, seed: int, size: int, split: str, index: int) -> List[dict]:
    """Draw a scene and write its files.

    Returns:
        Its entries of COCO's ``annotations``, without ``id``.
    """
    scene = draw_scene(seed, SPLITS.index(split), index, size)
    number = index + 1
    image = root / split / CLASSES[scene.label] / f'{number:06d}.jpg'
    Image.fromarray(scene.image).save(image, quality=JPEG_QUALITY)
    link(image, root / 'ade/images' / ADE_SPLITS[split] / image.name)
    link(image, root / 'coco' / f'{split}2017' / f'{number:012d}.jpg')
    index_png = root / 'ade/annotations' / ADE_SPLITS[split] / f'{number:06d}.png'
    Image.fromarray(scene.index_map).save(index_png)
    return annotations(scene, number)


def link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def annotations(scene: Scene, image_id: int) -> List[dict]:
    """COCO's entries for the visible part of each thing, in pixels."""
    return [
        dict(
            image_id=image_id,
            category_id=instance.label + 1,
            iscrowd=0,
            area=int(instance.mask.sum()),
            bbox=bounding_box(instance.mask),
            segmentation=polygons(instance.mask),
        )
        for instance in scene.instances
    ]


def write_lists(root: Path, split: str, size: int, found: List[List[dict]]) -> None:
    """Write what is about all scenes of a split; ``found`` has the annotations of each."""
    entries = [dict(id=number, **entry) for number, entry in enumerate(chain(*found), 1)]
    images = [
        dict(id=number, file_name=f'{number:012d}.jpg', width=size, height=size) for number in range(1, len(found) + 1)
    ]
    coco = dict(
        info=dict(description='generated scenes'),
        licenses=[],
        images=images,
        annotations=entries,
        categories=[dict(id=k, name=name, supercategory='thing') for k, name in enumerate(CLASSES, 1)],
    )
    path = root / 'coco/annotations' / f'instances_{split}2017.json'
    path.write_text(json.dumps(coco, separators=(',', ':')))
    (root / 'ade/classes.txt').write_text(''.join(f'{name}\n' for name in LABELS))
