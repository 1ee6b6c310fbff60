r"""UperNet on ViT-B/16 with CMAE's settings, ADE20K, 160K iterations.

    tools/dist_train.sh configs/downstream/segmentation/vit-b_upernet_160k_cmae.py 8 \
        --cfg-options data_root=PATH/TO/ADEChallengeData2016 pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each.

CMAE, section 4.3: "following the settings of compared methods", so MAE's, and what is not pre-trained begins with
Xavier's initialisation (mmseg's own: Kaiming's).

Published: 51.0% mIoU after 1600 epochs of CMAE (Table 3a). Not reproduced by this code yet.
"""

_base_ = './vit-b_upernet_160k.py'
xavier = dict(type='Xavier', layer=['Conv2d', 'ConvTranspose2d'], distribution='uniform')
model = dict(
    neck=dict(init_cfg=xavier),
    decode_head=dict(conv_cfg=dict(type='mmmim.XavierConv2d'), init_cfg=xavier),
    auxiliary_head=dict(conv_cfg=dict(type='mmmim.XavierConv2d'), init_cfg=xavier),
)
