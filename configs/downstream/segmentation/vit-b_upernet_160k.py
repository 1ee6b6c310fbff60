r"""UperNet on ViT-B/16 as for MAE, ADE20K, 160K iterations.

    tools/dist_train.sh configs/downstream/segmentation/vit-b_upernet_160k.py 8 \
        --cfg-options data_root=PATH/TO/ADEChallengeData2016 pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each; one with 80 GB takes all 16.

MAE follows BEiT's code for segmentation. The slides state no rate: 1e-4 and the layer decay of 0.65 are those of the
reproduction that Vision ELECTRA names (Li, 2022: 48.15%). So are the relative positions, a table in each block (the
backbone's `relative_positions`: 'separate', 'shared', 'decomposed' or None). Single scale; `tta=True` tests at six
scales, mirrored too.

Published: 48.1% mIoU after 1600 epochs of MAE (slides, Table 5; CMAE, Table 3a), 47.6% after 800 (GAN-MAE, Table 7).
Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/seg_upernet_vit.py',
    '../../_base_/datasets/seg_ade20k.py',
    '../../_base_/schedules/seg_adamw.py',
    '../../_base_/seg_runtime.py',
]
model = dict(decode_head=dict(channels=768))
max_iters = 160000
