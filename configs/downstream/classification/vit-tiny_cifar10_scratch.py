r"""Supervised training from scratch of a small ViT at 32 px on CIFAR-10, for two CPU cores.

    python tools/train.py configs/downstream/classification/vit-tiny_cifar10_scratch.py \
        --cfg-options data_root=PATH/TO/cifar10

PATH/TO/cifar10 holds `train/<class>/*` and `val/<class>/*`, or an archive of these. As long as fine-tuning, to
compare with it.

Published: nothing; the size and the schedule are this project's choice.
"""

_base_ = './vit-tiny_cifar10_finetune.py'
model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
