"""Cases of mmcv's operators and of two detectors that call them, with what mmcv's compiled operators gave.

python tests/models/mmcv_ops_cases.py    # where they are compiled: writes tests/data/mmcv_ops.npz anew
"""

from pathlib import Path
from typing import Dict, Iterator, Tuple

import numpy as np
import torch
from torch import Tensor

FIXTURE = Path(__file__).resolve().parents[1] / 'data/mmcv_ops.npz'
DETECTORS = ('mask_rcnn', 'cascade_mask_rcnn')
ROI_ALIGN = [
    dict(output_size=size, spatial_scale=scale, sampling_ratio=ratio, aligned=aligned)
    for size, scale in (((7, 7), 0.25), ((2, 3), 1.0))
    for ratio in (0, 1, 2)
    for aligned in (True, False)
]


def boxes(count: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """Corners ``[N, 4]`` of boxes that overlap, some of them without an area and some beyond the image."""
    corners = rng.uniform(-0.1 * size, size, (count, 2))
    found = np.concatenate([corners, corners + rng.uniform(0.05, 0.5, (count, 2)) * size], 1)
    found[::17, 2] = found[::17, 0]  # no width
    found[::23, 2:] = found[::23, :2]  # a point
    return found


def inputs() -> Dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rois = boxes(24, 60, rng)
    found = dict(
        nms_boxes=boxes(300, 100, rng),
        nms_scores=rng.permutation(300) / 300 + 1e-3,  # no two alike
        maps=rng.normal(size=(2, 3, 15, 17)),
        rois=np.concatenate([rng.integers(0, 2, (24, 1)), rois], 1),
        images=rng.normal(size=(2, 3, 64, 64)),
    )
    return {key: value.astype(np.float32) for key, value in found.items()}  # mmcv's compiled NMS takes nothing else


def nms_results(given: Dict[str, Tensor]) -> Iterator[Tuple[str, Tensor]]:
    from mmcv.ops import batched_nms, nms

    found, scores = given['nms_boxes'], given['nms_scores']
    for threshold in (0.1, 0.3, 0.5, 0.7):
        for offset in (0, 1):
            yield f'nms/{threshold}/{offset}', nms(found, scores, threshold, offset)[1]
    yield 'nms/best', nms(found, scores, 0.5, score_threshold=0.3, max_num=20)[1]
    classes = torch.arange(len(found)) % 3
    yield 'nms/batched', batched_nms(found, scores, classes, dict(type='nms', iou_threshold=0.5))[1]
    yield 'nms/empty', nms(found[:0], scores[:0], 0.5)[1]


def roi_align_results(given: Dict[str, Tensor]) -> Iterator[Tuple[str, Tensor]]:
    """Outputs, and gradients with respect to the maps for a gradient that differs everywhere."""
    from mmcv.ops import RoIAlign

    for i, options in enumerate(ROI_ALIGN):
        for kind, rois in (('some', given['rois']), ('none', given['rois'][:0])):
            maps = given['maps'].clone().requires_grad_()
            output = RoIAlign(**options)(maps, rois)
            output.backward(torch.arange(output.numel(), dtype=output.dtype).sin().view_as(output))
            yield f'roi_align/{i}/{kind}/output', output.detach()
            yield f'roi_align/{i}/{kind}/gradient', maps.grad


def detector(name: str) -> torch.nn.Module:
    """Mask R-CNN or Cascade Mask R-CNN on a ViT of two blocks, its weights a function of their index."""
    from mmdet.registry import MODELS
    from mmengine.config import ConfigDict

    head = dict(in_channels=8, roi_feat_size=7, num_classes=3)
    box_head = dict(type='Shared2FCBBoxHead', fc_out_channels=8, **head)
    extractor = dict(
        type='SingleRoIExtractor',
        out_channels=8,
        featmap_strides=[8],
        roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
    )
    take_all = dict(type='RandomSampler', num=10**6, pos_fraction=1.0, add_gt_as_proposals=True)

    def training(threshold: float) -> dict:
        assigner = dict(type='MaxIoUAssigner', pos_iou_thr=threshold, neg_iou_thr=threshold, min_pos_iou=threshold)
        return dict(assigner=assigner, sampler=take_all, mask_size=14, pos_weight=-1, debug=False)

    stages = dict(num_stages=3, stage_loss_weights=[1, 0.5, 0.25]) if name.startswith('cascade') else {}
    proposals = dict(nms_pre=60, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0)
    model = MODELS.build(
        ConfigDict(
            type='CascadeRCNN' if stages else 'MaskRCNN',
            backbone=dict(
                type='mmmim.DenseViT',
                arch=dict(embed_dim=16, depth=2, num_heads=2),
                img_size=64,
                patch_size=8,
                out_indices=(1,),
            ),
            neck=dict(type='ChannelMapper', in_channels=[16], out_channels=8, num_outs=1),
            rpn_head=dict(
                type='mmdet.RPNHead',
                in_channels=8,
                feat_channels=8,
                anchor_generator=dict(type='AnchorGenerator', scales=[2, 4], ratios=[0.5, 1.0, 2.0], strides=[8]),
            ),
            roi_head=dict(
                type='CascadeRoIHead' if stages else 'StandardRoIHead',
                bbox_roi_extractor=extractor,
                mask_roi_extractor=extractor,
                bbox_head=[box_head] * 3 if stages else box_head,
                mask_head=dict(type='FCNMaskHead', num_convs=1, in_channels=8, conv_out_channels=8, num_classes=3),
                **stages,
            ),
            train_cfg=dict(
                rpn=dict(training(0.5), sampler=dict(take_all, add_gt_as_proposals=False), allowed_border=-1),
                rpn_proposal=proposals,
                rcnn=[training(0.3), training(0.4), training(0.5)] if stages else training(0.4),
            ),
            test_cfg=dict(rpn=proposals, rcnn=dict()),
        )
    )
    for place, param in enumerate(model.parameters()):
        values = torch.arange(param.numel(), dtype=torch.float64).mul(1.7).add(place).sin()
        param.data.copy_(values.view_as(param) * (0.2 if param.ndim > 1 else 0.1) + (param.ndim == 1) * 0.5)
    return model


def truth() -> list:
    """Two images of 64 pixels, with two and one objects."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    samples = []
    for corners in ([[4, 6, 30, 40], [28, 20, 60, 58]], [[10, 12, 44, 50]]):
        masks = np.zeros((len(corners), 64, 64), np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, corners):
            mask[top + 3 : bottom, left : right - 3] = 1
        objects = InstanceData(
            bboxes=torch.tensor(corners, dtype=torch.float32),
            labels=torch.arange(len(corners)) + 1,
            masks=BitmapMasks(masks, 64, 64),
        )
        shape = dict(img_shape=(64, 64), ori_shape=(64, 64), pad_shape=(64, 64), batch_input_shape=(64, 64))
        samples.append(DetDataSample(gt_instances=objects, metainfo=dict(shape, scale_factor=(1.0, 1.0), img_id=0)))
    return samples


def detector_results(given: Dict[str, Tensor]) -> Iterator[Tuple[str, Tensor]]:
    """Losses of a step, the gradient of their sum with respect to each parameter, and the proposals."""
    for name in DETECTORS:
        model = detector(name)
        losses = model(given['images'], truth(), mode='loss')
        values = {
            key: torch.stack(value) if isinstance(value, list) else value
            for key, value in losses.items()
            if 'loss' in key
        }
        sum(value.sum() for value in values.values()).backward()
        yield from ((f'{name}/{key}', value.detach()) for key, value in values.items())
        yield from ((f'{name}/gradient/{key}', p.grad) for key, p in model.named_parameters() if p.grad is not None)
        with torch.no_grad():
            maps = model.extract_feat(given['images'])
            for i, found in enumerate(model.rpn_head.predict(maps, truth(), rescale=False)):
                yield f'{name}/proposals/{i}', found.bboxes
                yield f'{name}/scores/{i}', found.scores


def results() -> Dict[str, np.ndarray]:
    """Everything, by the operators that ``mmcv.ops`` has."""
    from mmdet.utils import register_all_modules

    import mmmim  # noqa: F401

    register_all_modules(init_default_scope=True)
    given = {key: torch.from_numpy(value) for key, value in inputs().items()}
    return {
        key: value.numpy()
        for function in (nms_results, roi_align_results, detector_results)
        for key, value in function(given)
    }


if __name__ == '__main__':
    import mmcv._ext

    assert mmcv._ext.__spec__.origin, 'compiled operators are needed'
    np.savez_compressed(FIXTURE, **results())
