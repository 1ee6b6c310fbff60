"""GAN-MAE at 32 px on CIFAR-10, for two CPU cores.

    python tools/train.py configs/gan_mae/vit-tiny_cifar10.py --cfg-options data_root=PATH/TO/cifar10

PATH/TO/cifar10 holds `train/<class>/*` and `val/<class>/*`, or an archive of these. The model is that of
`../mae/vit-tiny_cifar10.py` with a discriminator; images, batch, learning rate and epochs are the same. The other
schemes are `model.scheme=two_stage` and `model.scheme=combined`.

Published: nothing; the sizes and the schedule are this project's choice.
"""

_base_ = [
    '../_base_/models/gan_mae_vit.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7]),
    backbone=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=32, patch_size=4),
    neck=dict(embed_dim=128, depth=2, num_heads=4),
)
optim_wrapper = dict(constructor='PlayersOptimWrapperConstructor')
model_wrapper_cfg = dict(find_unused_parameters=True)
total_batch_size = 64
max_epochs = 3
warmup_epochs = 0.5
base_lr = 8e-3
default_hooks = dict(checkpoint=dict(interval=1), discriminator=dict(type='DiscriminatorHook'))
