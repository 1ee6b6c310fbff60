r"""Mask R-CNN on Swin-B, COCO, the 3x schedule (36 epochs).

    tools/dist_train.sh configs/downstream/detection/swin-b_mask-rcnn_3x.py 8 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each. Its four maps go into an FPN.

The papers that pre-train Swin here (CrossMAE, Vision ELECTRA) report no detection with it. These are the settings of
Swin's authors, as mmdet has them for their smaller models: AdamW with a rate of 1e-4 and a weight decay of 0.05, which
norms and relative positions are spared, no layer decay, stochastic depth of 0.3. The window is pre-training's: 7
patches.

Published: no number of these papers.
"""

_base_ = './vit-b_mask-rcnn_3x_crossmae.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmmim.DenseSwin',
        arch='base',
        patch_size=4,
        window_size=7,
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=dict(_delete_=True, type='FPN', out_channels=256, num_outs=5),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(
        _delete_=True,
        layer_decay_rate=1.0,
        custom_keys={'norm': dict(decay_mult=0.0), 'relative_position_bias_table': dict(decay_mult=0.0)},
    ),
)
