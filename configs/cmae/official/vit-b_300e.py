"""CMAE with ViT-B/16 on ImageNet-1K, 300 epochs, with the settings of the authors' public code.

    tools/dist_train.sh configs/cmae/official/vit-b_300e.py 8

What is stated here is where that code differs from the paper, `../vit-b_300e.py`; `../README.md` has the two side by
side. A checkpoint of the authors goes on training with `--cfg-options load_from=PATH`, its names are translated; its
encoder goes downstream as any other, by `pretrained=PATH` of the configs in `configs/downstream/classification`.

For 8 GPUs with 80 GB: 512 images on each, no accumulation (the paper: 32 A100). Lowering `max_batch_per_device` on
smaller ones keeps the total batch, the learning rate and the negatives, by accumulating, for one more forward pass of
the online encoder a step.

Published: 83.8% fine-tuning, by the authors' README for this config of theirs, which links weights of the pre-training
and of the fine-tuning. Not reproduced by this code yet.
"""

_base_ = './vit-b_800e.py'
max_epochs = 300
