"""CrossMAE with pixels at 32 px on CIFAR-10, for two CPU cores.

    python tools/train.py configs/crossmae/vit-tiny_pixel_cifar10.py --cfg-options data_root=PATH/TO/cifar10

PATH/TO/cifar10 holds `train/<class>/*` and `val/<class>/*`, or an archive of these. Nothing else is needed: no weights
are fetched. The encoder, batch and learning rate are those of `../mae/vit-tiny_cifar10.py`; it sees all 64 patches
where MAE's sees 16, so that a step takes longer.

Published: nothing; the sizes and the schedule are this project's choice.
"""

_base_ = [
    '../_base_/models/crossmae_vit.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7]),
    backbone=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=32, patch_size=4),
    drawing_head=dict(embed_dim=64, num_heads=2),
    target=dict(_delete_=True, type='PixelTarget'),
)
total_batch_size = 64
max_epochs = 3
warmup_epochs = 0.5
base_lr = 8e-3
default_hooks = dict(checkpoint=dict(interval=1))
