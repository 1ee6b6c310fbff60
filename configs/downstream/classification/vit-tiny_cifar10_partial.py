r"""Partial fine-tuning of a small ViT at 32 px on CIFAR-10, for two CPU cores.

    python tools/train.py configs/downstream/classification/vit-tiny_cifar10_partial.py \
        --cfg-options data_root=PATH/TO/cifar10 pretrained=CHECKPOINT

PATH/TO/cifar10 holds `train/<class>/*` and `val/<class>/*`, or an archive of these. CHECKPOINT is what
configs/mae/vit-tiny_cifar10.py makes; without it the encoder is random.

The last block is trained, or `model.backbone.trainable_blocks` of the six (0.5: its MLP);
tools/benchmarks/sweep_partial.py draws the curve.

Published: nothing; the size and the schedule are this project's choice.
"""

_base_ = './vit-tiny_cifar10_finetune.py'
model = dict(backbone=dict(trainable_blocks=1))
