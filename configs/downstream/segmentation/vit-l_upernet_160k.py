r"""UperNet on ViT-L/16 as for MAE, ADE20K, 160K iterations.

    tools/dist_train.sh configs/downstream/segmentation/vit-l_upernet_160k.py 8 \
        --cfg-options data_root=PATH/TO/ADEChallengeData2016 pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each.

Settings: those of ViT-B; the slides do not say what changes. Stochastic depth of 0.2 is BEiT's for ViT-L, the layer
decay of 0.75 MAE's for its classification.

Published: 53.6% mIoU after 1600 epochs of MAE (slides, Table 5). Not reproduced by this code yet.
"""

_base_ = './vit-b_upernet_160k.py'
model = dict(
    backbone=dict(arch='large', out_indices=(7, 11, 15, 23), drop_path_rate=0.2), decode_head=dict(channels=1024)
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
