"""Tiny models of the toolboxes that pre-trained encoders go to: loss, gradient and prediction of each."""

import os
from typing import Any, Callable, Dict

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

Found = Dict[str, Any]


def classification(context: Dict[str, Any]) -> Found:
    """A ViT of mmpretrain with a linear head: loss, gradient and prediction."""
    from mmpretrain.registry import MODELS
    from mmpretrain.structures import DataSample
    from mmpretrain.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope('mmpretrain')
    arch = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=64)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='VisionTransformer', arch=arch, img_size=32, patch_size=8),
            head=dict(type='VisionTransformerClsHead', num_classes=3, in_channels=32),
        )
    )
    images, samples = torch.randn(2, 3, 32, 32), [DataSample().set_gt_label(i) for i in range(2)]
    return learn_and_predict(model, images, samples, lambda sample: sample.pred_score.shape == (3,))


def segmentation(context: Dict[str, Any]) -> Found:
    """UperNet's head of mmseg on a small ResNet: loss, gradient and prediction."""
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope('mmseg')
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(type='ResNet', depth=18, base_channels=8),
            decode_head=dict(
                type='UPerHead',
                in_channels=[8, 16, 32, 64],
                in_index=[0, 1, 2, 3],
                channels=8,
                num_classes=3,
                norm_cfg=dict(type='BN'),
            ),
            test_cfg=ConfigDict(mode='whole'),
        )
    )
    samples = [
        SegDataSample(
            gt_sem_seg=PixelData(data=torch.zeros(1, 64, 64, dtype=torch.long)),
            metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64), padding_size=[0, 0, 0, 0], flip=False),
        )
        for _ in range(2)
    ]
    return learn_and_predict(
        model, torch.randn(2, 3, 64, 64), samples, lambda sample: sample.pred_sem_seg.shape == (64, 64)
    )


def detection(context: Dict[str, Any]) -> Found:
    """Mask R-CNN of mmdet on a small ResNet, with mmcv's compiled RoI align and nms: loss, gradient and prediction."""
    import copy

    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmdet.utils import register_all_modules
    from mmengine.structures import InstanceData

    register_all_modules(init_default_scope=False)
    init_default_scope('mmdet')
    import mmdet

    base = os.path.join(os.path.dirname(mmdet.__file__), '.mim', 'configs', '_base_', 'models', 'mask-rcnn_r50_fpn.py')
    cfg = Config.fromfile(base).model
    cfg.backbone.update(depth=18, base_channels=8, init_cfg=None)
    cfg.neck.update(in_channels=[8, 16, 32, 64])
    import numpy as np

    truth = InstanceData(
        bboxes=torch.tensor([[4.0, 4, 40, 40]]),
        labels=torch.zeros(1, dtype=torch.long),
        masks=BitmapMasks(np.ones((1, 64, 64), np.uint8), 64, 64),
    )
    info = dict(
        img_shape=(64, 64),
        ori_shape=(64, 64),
        pad_shape=(64, 64),
        batch_input_shape=(64, 64),
        scale_factor=(1.0, 1.0),
        img_id=0,
    )
    samples = [DetDataSample(gt_instances=copy.deepcopy(truth), metainfo=info) for _ in range(2)]
    return learn_and_predict(
        MODELS.build(cfg), torch.randn(2, 3, 64, 64), samples, lambda sample: hasattr(sample.pred_instances, 'masks')
    )


def learn_and_predict(model: Any, images: Any, samples: list, looks_right: Callable[[Any], bool]) -> Found:
    losses = model(images, samples, mode='loss')
    values = [v for value in losses.values() for v in (value if isinstance(value, list) else [value])]
    loss = sum(value for value in values if value.requires_grad)
    loss.backward()
    if not torch.isfinite(loss):
        raise RuntimeError(f'the loss of a tiny model is {loss.item()}')
    with torch.no_grad():
        predicted = model.eval()(images, samples, mode='predict')
    if len(predicted) != len(images) or not all(map(looks_right, predicted)):
        raise RuntimeError('the prediction of a tiny model has the wrong shape')
    return dict(detail=f'a tiny {type(model).__name__} learnt and predicted')
