"""Mask R-CNN on a plain ViT as MIMDet's code trains one with large-scale jitter, for comparison with its own network.

Four maps and an FPN, windows of 16 patches but in the last block of each quarter (they divide images of 768 and 1024 px
exactly), batch norm over all ranks in the pyramid, the FPN and the convolutions of the heads, two convolutions for
proposals, four and a linear layer for boxes.
"""

_base_ = './det_mask_rcnn_fpn_vit.py'
norm_cfg = dict(type='mmmim.CrossRankBatchNorm2d')
model = dict(
    backbone=dict(out_indices=(2, 5, 8, 11), window_size=16, relative_positions='decomposed', drop_path_rate=0.1),
    neck=[
        dict(type='mmmim.MultiScalePyramid', norm='batch'),
        dict(type='FPN', out_channels=256, num_outs=5, norm_cfg=norm_cfg),
    ],
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
