r"""Mask R-CNN on ViT-B/16 with Vision ELECTRA's settings, COCO, 100 epochs of large-scale jitter at 768 px.

    tools/dist_train.sh configs/downstream/detection/vit-b_mask-rcnn_lsj-100e_vision-electra.py 4 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 4 GPUs with 32 GB, which accumulate four batches of 4 images each.

The supplement's section on detection: 100 epochs, a batch of 64, a rate of 8e-5, a weight decay of 0.1, betas 0.9 and
0.999, images of 768 x 768, an FPN, built on MIMDet. Rate and weight decay are those of MIMDet's config, which then
multiplies 8e-5 by 64/16 for its 64 images, and gives half of the product to the encoder and twice of it to the rest,
without layer decay: so here 1.6e-4 and 6.4e-4 (`paramwise_cfg.backbone_lr_mult` and `head_lr_mult`). The literal 8e-5
is vit-b_mask-rcnn_lsj-100e_vision-electra_lr-8e-5.py, MIMDet's 36 epochs are vit-b_mask-rcnn_3x_vision-electra.py.
A quarter of an epoch of warm-up, windows of 16 and batch norm over all ranks are MIMDet's, too; half a cosine and
stochastic depth of 0.1 are those of its comparison with large-scale jitter.

Of MIMDet's own network these are not built: a new convolutional stem, whose first maps are those of strides 4 and 8
(its rate is the base rate; here the pre-trained patch embedding has the encoder's); the encoder on a quarter or half of
the tokens, drawn anew at each step; four blocks of MAE's decoder, from the checkpoint, that make the map of stride 16
of them. Here the encoder sees all tokens, and the four maps are its own, as in the comparison (after Li et al., 2021)
in MIMDet's code. That shares two tables of relative positions, of windows and of the whole map, among all blocks; here
each block has its own, in rows and columns.

Statistics of batch norm are of the images that the ranks hold at once, 16 of the 64 here: they do not cross accumulated
batches.

Published: no number; the supplement states no AP. Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/det_mask_rcnn_mimdet_vit.py',
    '../../_base_/datasets/det_coco_lsj.py',
    '../../_base_/schedules/det_adamw_cosine.py',
    '../../_base_/det_runtime.py',
]
image_size = 768
max_epochs = 100
warmup_epochs = 0.25
optim_wrapper = dict(
    optimizer=dict(lr=3.2e-4),
    paramwise_cfg=dict(layer_decay_rate=1.0, backbone_lr_mult=0.5, head_lr_mult=2.0),
)
