r"""A linear layer on ViT-B/16 as decoder, with CrossMAE's settings, ADE20K, 160K iterations.

    tools/dist_train.sh configs/downstream/segmentation/vit-b_linear_160k_crossmae.py 8 \
        --cfg-options data_root=PATH/TO/ADEChallengeData2016 pretrained=CHECKPOINT

For 8 GPUs with 16 GB, 2 images each.

CrossMAE, section 4.2: "a linear layer as decoder", as in "CIM (Zhou et al., 2021)", a citation that is iBOT. iBOT's
public recipe freezes the backbone and joins four maps; the document's sentence says neither. So all is trained here, as
with UperNet, and the layer reads the last map after the final norm; there is no auxiliary head.

Published: 44.6% mIoU after 300 epochs of CrossMAE; BEiT 43.2, DINO 43.0, CIM 43.5 (Table 2). Not reproduced by this
code yet.
"""

_base_ = [
    '../../_base_/models/seg_linear_vit.py',
    '../../_base_/datasets/seg_ade20k.py',
    '../../_base_/schedules/seg_adamw.py',
    '../../_base_/seg_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=7e-4))
max_iters = 160000
