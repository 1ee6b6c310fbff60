"""CMAE with ViT-L/16 on ImageNet-1K, 800 epochs.

    tools/dist_train.sh configs/cmae/vit-l_800e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation (the paper: 32 A100). That takes about 38 GiB, counted: what
is kept for the backward pass in bf16, weights, gradients and AdamW's state; it was not run on GPUs. Lowering
`max_batch_per_device` on smaller ones keeps the total batch, the learning rate and the negatives, by accumulating, for
one more forward pass of the online encoder a step.

Published: nothing for this model and length (the paper's ViT-L is trained for 1600 epochs). Not reproduced by this
code yet.
"""

_base_ = './vit-b_800e.py'
model = dict(backbone=dict(arch='large'))
