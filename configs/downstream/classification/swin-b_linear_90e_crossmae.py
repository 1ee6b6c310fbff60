r"""Linear probing of Swin-B with CrossMAE's settings, 90 epochs.

    tools/dist_train.sh configs/downstream/classification/swin-b_linear_90e_crossmae.py 8 \
        --cfg-options pretrained=CHECKPOINT

CHECKPOINT is of configs/crossmae/swin-b_100e.py or its like. For 8 GPUs with 16 GB. The settings are
vit-b_linear_90e_crossmae.py's; the mean of the last map takes the place of the class token, which Swin has not.

Published: 67.8% (pixels), 70.9% (features) and 74.2% (CLIP) after 100 epochs of CrossMAE (Table 1). Not reproduced by
this code yet.
"""

_base_ = './vit-b_linear_90e_crossmae.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmmim.MaskedSwin',
        arch='base',
        img_size=224,
        patch_size=4,
        window_size=7,
        trainable_blocks=0,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=dict(pool='mean'),
)
