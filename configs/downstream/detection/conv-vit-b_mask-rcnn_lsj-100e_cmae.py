r"""Mask R-CNN on CMAE's hybrid convolutional ViT-B, COCO, 100 epochs of large-scale jitter at 1024 px.

    tools/dist_train.sh configs/downstream/detection/conv-vit-b_mask-rcnn_lsj-100e_cmae.py 8 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 16 GPUs with 80 GB, 4 images each (8 on each of two nodes). Fewer GPUs accumulate batches of 4; smaller ones take
fewer, too: `max_batch_per_device=1`.

CMAE, section 4.3, as for the plain ViT. The two convolutional stages and the transformer give the four scales, which an
FPN fuses; the last of each quarter of the transformer's blocks attends globally, the others in windows of 14 patches.

Published: 52.9% box AP, 47.0% mask AP after 1600 epochs of CMAE; ConvMAE 52.5 and 46.5 (Table 3b). Not reproduced by
this code yet.
"""

_base_ = './vit-b_mask-rcnn_lsj-100e.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmmim.DenseConvViT',
        arch='base',
        img_size=1024,
        patch_size=16,
        window_size=14,
        relative_positions='decomposed',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=dict(
        _delete_=True, type='FPN', out_channels=256, num_outs=5, norm_cfg=dict(type='mmmim.LayerNorm2d', eps=1e-6)
    ),
)
