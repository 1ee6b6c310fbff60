r"""Linear probing of ViT-B/16 with CrossMAE's settings, 90 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-b_linear_90e_crossmae.py 8 \
        --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 16 GB. Settings: CrossMAE, Table 17: SGD, batch 512. The text names MoCo v3's and MAE's protocols,
from which the batch norm and the class token are taken.

Published: 70.9% (pixels), 73.8% (features) and 76.3% (CLIP) after 300 epochs of CrossMAE (Table 1). Not reproduced by
this code yet.
"""

_base_ = './vit-b_linear_90e.py'
total_batch_size = 512
max_batch_per_device = 64
optim_wrapper = dict(optimizer=dict(type='SGD'))
