r"""Partial fine-tuning of ViT-B/16: the last block, or `model.backbone.trainable_blocks` of them.

    tools/dist_train.sh configs/downstream/classification/vit-b_partial.py 8 --cfg-options pretrained=CHECKPOINT

The curve over several numbers of blocks (0: a linear layer on frozen features; 0.5: the last block's MLP):

    python tools/benchmarks/sweep_partial.py configs/downstream/classification/vit-b_partial.py \
        --blocks 0,0.5,1,2,4,6,12 \
        --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

Settings: those of fine-tuning; MAE trains 50, 100 or 200 epochs and reports the best for each number of blocks, as
fewer blocks want longer schedules: `max_epochs`, here 100, is that option.

Published: a figure without numbers (CMAE, Fig. 5a); one block of CMAE is 2.5 points above MAE's, none 5.9 (CMAE,
section 4.5). Not reproduced by this code yet.
"""

_base_ = './vit-b_finetune_100e.py'
model = dict(backbone=dict(trainable_blocks=1))
