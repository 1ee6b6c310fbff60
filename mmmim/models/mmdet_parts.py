"""Parts of mmdet, each with what it lacks; the one module that imports mmdet, for detection alone.

Heads work under bf16 autocast: bf16 has 8 binary digits. mmdet casts boxes to the type of the maps before it reads
inside them, so that at 1000 pixels a coordinate would be off by up to 2; and mmcv's operators (RoIAlign everywhere, NMS
on the CPU) do not take bf16. Images may have more channels. Objects are left out where their outline is no mask, and
measured whatever their ids are.

Importing it makes mmdet work without mmcv's compiled operators, also under mmdet's own tools/train.py:
``custom_imports = dict(imports=['mmmim', 'mmmim.models.mmdet_parts'])``.
"""

import logging
from typing import Any, List, Optional, Sequence, Set, Tuple

from .mmcv_ops import provide_ops

provide_ops()  # before mmdet's models are imported

# ruff: noqa: E402
import torch
from mmdet.datasets import CocoDataset as _CocoDataset
from mmdet.evaluation import CocoMetric as _CocoMetric
from mmdet.models.data_preprocessors import DetDataPreprocessor as _DetDataPreprocessor
from mmdet.models.dense_heads import RPNHead as _RPNHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor as _SingleRoIExtractor
from mmengine.logging import print_log
from torch import Tensor

from ..datasets.coco_file import with_usable_outlines
from ..registry import DATASETS, METRICS, MODELS
from .preprocess import AnyChannels


def widened(x: Tensor) -> Tensor:
    """A tensor as float32, or as it is if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@MODELS.register_module()
class RPNHead(_RPNHead):
    """mmdet's, with float32 scores and offsets, by which proposals are sorted and suppressed."""

    def forward_single(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        scores, offsets = super().forward_single(x)
        return widened(scores), widened(offsets)


@MODELS.register_module()
class SingleRoIExtractor(_SingleRoIExtractor):
    """mmdet's, on float32 maps."""

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: Optional[float] = None) -> Tensor:
        return super().forward(tuple(widened(x) for x in feats), rois, roi_scale_factor)


@DATASETS.register_module()
class CocoDataset(_CocoDataset):
    """mmdet's; objects without a usable outline can be left out.

    mmdet looks at outlines while it loads a sample: it stops there, or learns an empty mask. An image all of whose
    objects are left out shows them still: training leaves it out, too, where mmdet would take it for background.

    Args:
        skip_broken: Where the pipeline loads masks: whether to leave such objects out. Without it
            :class:`~mmmim.engine.hooks.CheckAnnotationsHook` names them in an error.
        pipeline, args, kwargs: mmdet's.
    """

    def __init__(self, *args: Any, skip_broken: bool = False, pipeline: Sequence[Any] = (), **kwargs: Any) -> None:
        self.skip_broken, self.outlines = skip_broken, loads_masks(pipeline)
        self.emptied: Set[Any] = set()  # ids of images that lost their last object
        super().__init__(*args, pipeline=pipeline, **kwargs)

    def parse_data_info(self, raw_data_info: dict) -> dict:
        if not (self.skip_broken and self.outlines):
            return super().parse_data_info(raw_data_info)
        image, annotations = raw_data_info['raw_img_info'], raw_data_info['raw_ann_info']
        sizes = {image['id']: (image['width'], image['height'])}
        usable = list(with_usable_outlines(annotations, sizes))
        found = super().parse_data_info(dict(raw_data_info, raw_ann_info=usable))
        lost = len(usable) < len(annotations) and not has_objects(found)
        if lost and has_objects(super().parse_data_info(raw_data_info)):
            self.emptied.add(found['img_id'])
        return found

    def filter_data(self) -> List[dict]:
        kept = super().filter_data()
        return kept if self.test_mode else [info for info in kept if info['img_id'] not in self.emptied]


def has_objects(info: dict) -> bool:
    """Whether mmdet learns any object of a parsed image; crowds are none."""
    return any(not instance['ignore_flag'] for instance in info['instances'])


def loads_masks(steps: Any) -> bool:
    """Whether a pipeline loads masks, in a nested step or not."""
    if isinstance(steps, (list, tuple)):
        return any(map(loads_masks, steps))
    if isinstance(steps, dict):
        return bool(steps.get('with_mask')) or loads_masks(steps.get('transforms'))
    return bool(getattr(steps, 'with_mask', False))


@METRICS.register_module()
class CocoMetric(_CocoMetric):
    """mmdet's, for annotations with any ids, and without those whose outline cannot be used.

    pycocotools marks a detection that matches nothing with 0 in the place of an annotation's id: one whose id is 0, or
    no number, counts as missed. Here they are numbered from 1. Where masks are measured, it stops at an outline that
    it cannot read, or takes four numbers for a box.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self._coco_api is None:
            return
        content = self._coco_api.dataset
        kept = content['annotations']
        if 'segm' in self.metrics:
            sizes = {image['id']: (image['width'], image['height']) for image in content['images']}
            kept = list(with_usable_outlines(kept, sizes))
            if len(kept) < len(content['annotations']):
                print_log(
                    f'{len(content["annotations"]) - len(kept)} of {len(content["annotations"])} annotations are not '
                    'measured: they have no usable outline, or their image is not listed',
                    'current',
                    logging.WARNING,
                )
        content['annotations'] = [dict(annotation, id=number) for number, annotation in enumerate(kept, 1)]
        self._coco_api.createIndex()


@MODELS.register_module()
class DetPreprocessor(AnyChannels, _DetDataPreprocessor):
    """mmdet's, for images of as many channels as mean and std have values."""
