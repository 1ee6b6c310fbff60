r"""UperNet on Swin-B, ADE20K, 160K iterations.

    tools/dist_train.sh configs/downstream/segmentation/swin-b_upernet_160k.py 8 \
        --cfg-options data_root=PATH/TO/ADEChallengeData2016 pretrained=CHECKPOINT

For 8 GPUs with 16 GB, 2 images each.

The papers that pre-train Swin here (CrossMAE, Vision ELECTRA) report no segmentation with it. These are the settings
of Swin's authors, as mmseg has them: no layer decay, weight decay 0.01, which norms and relative positions are spared,
and stochastic depth of 0.3. The window is pre-training's: 7 patches; with SimMIM's checkpoints (192 pixels) 6, by
`model.backbone.window_size=6`.

Published: 48.0% mIoU from supervised pre-training, 49.6 with several scales (mmseg's metafile). Not reproduced by this
code yet.
"""

_base_ = './vit-b_upernet_160k.py'
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
    neck=None,
    decode_head=dict(channels=512),
)
optim_wrapper = dict(
    optimizer=dict(lr=6e-5, weight_decay=0.01),
    paramwise_cfg=dict(
        _delete_=True,
        layer_decay_rate=1.0,
        custom_keys={'norm': dict(decay_mult=0.0), 'relative_position_bias_table': dict(decay_mult=0.0)},
    ),
)
