r"""Mask R-CNN on ViT-B/16 with Vision ELECTRA's settings, COCO, MIMDet's own schedule (3x, 36 epochs).

    tools/dist_train.sh configs/downstream/detection/vit-b_mask-rcnn_3x_vision-electra.py 4 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 4 GPUs with 32 GB, which accumulate eight batches of 2 images each.

The supplement says 100 epochs and 768 x 768 px (vit-b_mask-rcnn_lsj-100e_vision-electra.py, which says what is MIMDet's
here and what is not); the framework that it names trains 36, with the short side of an image at 480 to 800 px and half
of the images cropped before, and steps to a tenth after 27 and 33. Batch and rates are the same. An image may be of any
size: windows at its lower and right edge are smaller.

Statistics of batch norm are of the images that the ranks hold at once, 8 of the 64 here: they do not cross accumulated
batches.

Published: no number; the supplement states no AP. Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/det_mask_rcnn_mimdet_vit.py',
    '../../_base_/datasets/det_coco_multiscale.py',
    '../../_base_/schedules/det_adamw_step.py',
    '../../_base_/det_runtime.py',
]
total_batch_size = 64
max_epochs = 36
warmup_epochs = 0.25
milestones = (27, 33)
optim_wrapper = dict(
    optimizer=dict(lr=3.2e-4, weight_decay=0.1),
    paramwise_cfg=dict(layer_decay_rate=1.0, backbone_lr_mult=0.5, head_lr_mult=2.0),
)
