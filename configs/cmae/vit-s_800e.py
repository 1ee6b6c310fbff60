"""CMAE with ViT-S/16 on ImageNet-1K, 800 epochs.

    tools/dist_train.sh configs/cmae/vit-s_800e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation (the paper: 32 A100). Lowering `max_batch_per_device` on
smaller ones keeps the total batch, the learning rate and the negatives, by accumulating, for one more forward pass of
the online encoder a step. The decoders stay those of the larger models, wider than this encoder: a choice,
the paper does not state them.

Published: nothing for this model and length (the paper's ViT-S is trained for 1600 epochs). Not reproduced by this
code yet.
"""

_base_ = './vit-b_800e.py'
model = dict(backbone=dict(arch='small'))
