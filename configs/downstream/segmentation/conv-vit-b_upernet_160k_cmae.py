r"""UperNet on CMAE's hybrid convolutional ViT-B, ADE20K, 160K iterations.

    tools/dist_train.sh configs/downstream/segmentation/conv-vit-b_upernet_160k_cmae.py 8 \
        --cfg-options data_root=PATH/TO/ADEChallengeData2016 pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each.

CMAE, section 4.3, as for the plain ViT; the two convolutional stages and the transformer give the four scales, so there
is no neck. Xavier's initialisation of the heads. ConvMAE's code, not followed where CMAE is silent, has relative
positions, a drop path of 0.2 and layer decay 0.75.

Published: 52.5% mIoU after 1600 epochs of CMAE; ConvMAE 50.7% (Table 3a). Not reproduced by this code yet.
"""

_base_ = './vit-b_upernet_160k.py'
xavier = dict(type='Xavier', layer='Conv2d', distribution='uniform')
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmmim.DenseConvViT',
        arch='base',
        img_size=512,
        patch_size=16,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=None,
    decode_head=dict(conv_cfg=dict(type='mmmim.XavierConv2d'), init_cfg=xavier),
    auxiliary_head=dict(conv_cfg=dict(type='mmmim.XavierConv2d'), init_cfg=xavier),
)
