r"""UperNet on ViT-B/16 with CMAE's settings, ADE20K, 160K iterations.

    tools/dist_train.sh configs/downstream/segmentation/vit-b_upernet_160k_cmae.py 8 \
        --cfg-options data_root=PATH/TO/ADEChallengeData2016 pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each.

CMAE, section 4.3: "following the settings of compared methods", so MAE's, and what is not pre-trained begins with
Xavier's initialisation (mmseg's own: Kaiming's).

Published: 51.0% mIoU after 1600 epochs of CMAE (Table 3a). Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/seg_upernet_vit.py',
    '../../_base_/datasets/seg_ade20k.py',
    '../../_base_/schedules/seg_adamw.py',
    '../../_base_/seg_runtime.py',
]
xavier = dict(type='Xavier', layer=['Conv2d', 'ConvTranspose2d'], distribution='uniform')
model = dict(
    backbone=dict(arch='base', out_indices=(3, 5, 7, 11), drop_path_rate=0.1),
    neck=dict(init_cfg=xavier),
    decode_head=dict(channels=768, conv_cfg=dict(type='mmmim.XavierConv2d'), init_cfg=xavier),
    auxiliary_head=dict(conv_cfg=dict(type='mmmim.XavierConv2d'), init_cfg=xavier),
)
total_batch_size = 16
max_iters = 160000
warmup_iters = 1500
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.05), paramwise_cfg=dict(layer_decay_rate=0.65))
