"""Faces with 98 landmarks (WFLW)."""

import os
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ..registry import DATASETS
from .image_folder import check_data_root
from .retrying import RetryingDataset

POINTS = 98
ATTRIBUTES = ('pose', 'expression', 'illumination', 'make-up', 'occlusion', 'blur')
OUTER_EYE_CORNERS = (60, 72)
# fields of a line: x and y of each point, xmin ymin xmax ymax of the face, the attributes or none, the image's name
_WITHOUT, _WITH = 2 * POINTS + 4 + 1, 2 * POINTS + 4 + len(ATTRIBUTES) + 1


def flip_indices() -> Tuple[int, ...]:
    """For each point of a mirrored face, the point of the face that lies there: its partner on the other side.

    Outline 0 to 32, brows 33 to 50, nose 51 to 59, eyes 60 to 75, mouth 76 to 95, pupils 96 and 97 (Wu et al., 2018).
    """
    partner = list(range(POINTS))
    # the first and the last point of a run on one side, and the partner of the first: partners go backwards
    runs = [(0, 15, 32), (33, 37, 46), (38, 41, 50), (55, 56, 59), (60, 64, 72), (65, 67, 75), (76, 78, 82)]
    runs += [(83, 84, 87), (88, 89, 92), (93, 93, 95), (96, 96, 97)]
    for first, last, other in runs:
        for step in range(last - first + 1):
            partner[first + step], partner[other - step] = other - step, first + step
    return tuple(partner)


@DATASETS.register_module()
class WFLW(RetryingDataset):
    """WFLW (Wu et al., 2018, "Look at Boundary: A Boundary-Aware Face Alignment Algorithm"): a sample is a face.

    A line of the annotation file has, apart by spaces, x and y of 98 points, the face's box (xmin, ymin, xmax, ymax),
    six attributes (0 or 1: pose, expression, illumination, make-up, occlusion, blur) and the image's name: 207 fields.
    Without attributes it has 201. An image may have several faces.

    Args:
        data_root: The folder with ``WFLW_images`` and the annotations.
        ann_file: The annotation file, relative to ``data_root``.
        data_prefix: ``img_path``: the folder of the images, relative to ``data_root``.
        **kwargs: ``pipeline``, ``indices`` and the other options of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: The folder, the annotation file or images that it names do not exist.
        ValueError: A line that has another number of fields, not the attributes that the lines before it have (or
            have not), or a field that is not what it should be; the message has the line's number.
    """

    METAINFO = dict(flip_indices=flip_indices(), norm_pair=OUTER_EYE_CORNERS, attributes=ATTRIBUTES)

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        data_prefix: Optional[Dict[str, str]] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            ann_file=ann_file,
            data_root=check_data_root(data_root),
            data_prefix=data_prefix or dict(img_path='WFLW_images'),
            **kwargs,
        )

    def load_data_list(self) -> List[dict]:
        """One ``dict(img_path, keypoints [98, 2] float64 (x, y), bbox [4] float64, attributes [6] int64 or None)`` for
        each face, in pixels whose centres are whole numbers."""
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'the annotation file {self.ann_file!r} does not exist (dataset.ann_file, relative to data_root)'
            )
        faces, numbers, count = [], [], None
        with open(self.ann_file, encoding='utf-8-sig') as stream:
            for number, line in enumerate(stream, 1):
                fields = line.split()
                if not fields:
                    continue
                where = f'{self.ann_file}, line {number}'
                _check_count(len(fields), count, where)
                count = len(fields)
                faces.append(_parse(fields, where))
                numbers.append(number)
        if not faces:
            raise ValueError(f'the annotation file {self.ann_file!r} is empty')
        self._check_images([face['img_path'] for face in faces], numbers)
        root = self.data_prefix['img_path']
        return [dict(face, img_path=os.path.join(root, face['img_path'])) for face in faces]

    def _check_images(self, names: List[str], numbers: List[int]) -> None:
        root = self.data_prefix['img_path']
        there = {name: os.path.isfile(os.path.join(root, name)) for name in dict.fromkeys(names)}
        missing = [(number, name) for number, name in zip(numbers, names) if not there[name]]
        if missing:
            first = ''.join(f'\n  line {number}: {name}' for number, name in missing[:5])
            raise FileNotFoundError(
                f'{len(missing)} of the {len(names)} faces of {self.ann_file} are on images that do not exist under '
                f'{root!r} (data_root and dataset.data_prefix.img_path):{first}'
            )


def _check_count(count: int, before: Optional[int], where: str) -> None:
    if count not in (_WITHOUT, _WITH):
        raise ValueError(
            f'{where}: {count} fields, but a face has {_WITH} ({2 * POINTS} coordinates, a box of 4, '
            f'{len(ATTRIBUTES)} attributes, the image) or, without attributes, {_WITHOUT}'
        )
    if before not in (None, count):
        raise ValueError(
            f'{where}: {count} fields, but the lines before it have {before}: all faces have attributes, or none'
        )


def _parse(fields: List[str], where: str) -> dict:
    *values, name = fields
    try:
        numbers = np.array(values, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f'{where}: a field is no number ({error})') from error
    if not np.isfinite(numbers).all():
        place = int(np.argmin(np.isfinite(numbers)))
        raise ValueError(f'{where}: field {place + 1} is {values[place]}, which is no coordinate')
    box, attributes = numbers[2 * POINTS : 2 * POINTS + 4], numbers[2 * POINTS + 4 :]
    if not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError(f'{where}: the box is {box.tolist()}; xmin ymin xmax ymax are needed, each min below its max')
    if not np.isin(attributes, (0, 1)).all():
        raise ValueError(f'{where}: the attributes are {attributes.tolist()}; each is 0 or 1')
    return dict(
        img_path=name,
        keypoints=numbers[: 2 * POINTS].reshape(POINTS, 2),
        bbox=box,
        attributes=attributes.astype(np.int64) if len(attributes) else None,
    )
