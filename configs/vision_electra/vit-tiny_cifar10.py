r"""Vision ELECTRA at 32 px on CIFAR-10, for two CPU cores.

    python tools/train.py configs/vision_electra/vit-tiny_cifar10.py --cfg-options data_root=PATH/TO/cifar10

That is from scratch. Continual: both networks start from the checkpoint of an MAE of raw pixels
(`../mae/vit-tiny_cifar10.py` with `model.target.norm_pix=False`):

    python tools/train.py configs/vision_electra/vit-tiny_cifar10.py \
        --cfg-options data_root=PATH/TO/cifar10 load_from=CHECKPOINT

PATH/TO/cifar10 holds `train/<class>/*` and `val/<class>/*`, or an archive of these. Both networks are those of
`../mae/vit-tiny_cifar10.py`.

Published: nothing; the sizes and the schedule are this project's choice.
"""

_base_ = [
    '../_base_/models/vision_electra_vit.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7]),
    generator=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=32, patch_size=4),
    neck=dict(embed_dim=128, depth=2, num_heads=4),
    backbone=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=32, patch_size=4),
)
total_batch_size = 64
max_epochs = 3
warmup_epochs = 0.5
base_lr = 4e-3
lr_base_batch = 256
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)))
default_hooks = dict(checkpoint=dict(interval=1), discriminator=dict(type='DiscriminatorHook'))
