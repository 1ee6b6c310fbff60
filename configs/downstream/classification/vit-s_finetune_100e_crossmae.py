r"""Fine-tuning of ViT-S/16 with CrossMAE's settings, 100 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-s_finetune_100e_crossmae.py 8 \
        --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

Settings: CrossMAE, Table 18, which does not depend on the size of the model; see vit-b_finetune_100e_crossmae.py.

Published: 82.1% (features) and 82.5% (CLIP) after 300 epochs of CrossMAE (Table 1). Not reproduced by this code yet.
"""

_base_ = './vit-b_finetune_100e_crossmae.py'
model = dict(backbone=dict(arch='small'))
