"""CMAE* with a ViT-B behind a convolutional tokenizer on ImageNet-1K, 800 epochs.

    tools/dist_train.sh configs/cmae/conv-vit-stem-b_800e.py 8

The other reading of the paper's CMAE*: "a multi-layer convolutional network is used as token projection" and nothing
else, so that features of the convolutional stages are not added at the end. The default reading, "a hybrid
convolutional ViT which is also used by ConvMAE", is `conv-vit-b_800e.py`.

For 8 GPUs with 80 GB: 512 images on each, no accumulation (the paper: 32 A100). Lowering `max_batch_per_device` on
smaller ones keeps the total batch, the learning rate and the negatives, by accumulating, for one more forward pass of
the online encoder a step.

Published: quoted from CMAE*'s row in the paper's Table 2: 85.0% fine-tuning, of which it is open whether this is the
encoder. Not reproduced by this code yet.
"""

_base_ = './conv-vit-b_800e.py'
model = dict(backbone=dict(conv_vit='stem'))
