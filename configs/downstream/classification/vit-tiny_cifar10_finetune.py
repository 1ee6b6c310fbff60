r"""Fine-tuning of a small ViT at 32 px on CIFAR-10, for two CPU cores.

    python tools/train.py configs/downstream/classification/vit-tiny_cifar10_finetune.py \
        --cfg-options data_root=PATH/TO/cifar10 pretrained=CHECKPOINT

PATH/TO/cifar10 holds `train/<class>/*` and `val/<class>/*`, or an archive of these. CHECKPOINT is what
configs/mae/vit-tiny_cifar10.py makes; without it the encoder is random.

Published: nothing; the size and the schedule are this project's choice.
"""

_base_ = [
    '../../_base_/models/vit_cls.py',
    '../../_base_/datasets/cifar10_cls.py',
    '../../_base_/schedules/cls_finetune_adamw.py',
    '../../_base_/cls_runtime.py',
]
model = dict(
    data_preprocessor=dict(num_classes=10, mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7]),
    backbone=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=32, patch_size=4),
    train_cfg=None,
    head=dict(num_classes=10),
)
num_classes = 10
total_batch_size = 64
base_lr = 2e-3
max_epochs = 3
warmup_epochs = 0.5
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
