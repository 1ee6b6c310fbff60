r"""Fine-tuning of the hybrid convolutional ViT-B (CMAE*, ConvMAE*) with CMAE's settings, 100 epochs.

    tools/dist_train.sh configs/downstream/classification/conv-vit-b_finetune_100e_cmae.py 8 \
        --cfg-options pretrained=CHECKPOINT

CHECKPOINT is of configs/cmae/conv-vit-b_800e.py or configs/mae/conv-vit-b_800e.py, or a public one of ConvMAE. For 8
GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

The settings are vit-b_finetune_100e_cmae.py's. As in ConvMAE's fine-tuning, features of the convolutional stages are
not added to the last tokens (`model.backbone.fuse=True` adds them).

Published: 85.0% after 800 and 85.3% after 1600 epochs of CMAE*, 84.6% after either of ConvMAE* (CMAE, Table 2). Not
reproduced by this code yet.
"""

_base_ = './vit-b_finetune_100e_cmae.py'
model = dict(backbone=dict(type='mmmim.ConvViT', fuse=False))
