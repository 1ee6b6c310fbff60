r"""Fine-tuning of ViT-S/16 with CMAE's settings, 100 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-s_finetune_100e_cmae.py 8 \
        --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

CMAE states no settings of its own for this size; those of ViT-B are taken, see vit-b_finetune_100e_cmae.py. The
authors' code has another "small", `arch=dict(embed_dim=768, depth=8, num_heads=8)` in pre-training and here.

Published: a point of Figure 5b, which has no number. Not reproduced by this code yet.
"""

_base_ = './vit-b_finetune_100e_cmae.py'
model = dict(backbone=dict(arch='small'))
