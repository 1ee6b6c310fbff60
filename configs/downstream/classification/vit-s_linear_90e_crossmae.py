r"""Linear probing of ViT-S/16 with CrossMAE's settings, 90 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-s_linear_90e_crossmae.py 8 \
        --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 16 GB. Settings: CrossMAE, Table 17: SGD, batch 512. The text names MoCo v3's and MAE's protocols,
from which the batch norm and the class token are taken.

Published: 66.8% (features) and 72.9% (CLIP) after 300 epochs of CrossMAE (Table 1). Not reproduced by this code yet.
"""

_base_ = './vit-b_linear_90e_crossmae.py'
model = dict(backbone=dict(arch='small'))
