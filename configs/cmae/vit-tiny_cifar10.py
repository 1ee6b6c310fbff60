"""CMAE at 32 px on CIFAR-10, for two CPU cores.

    python tools/train.py configs/cmae/vit-tiny_cifar10.py --cfg-options data_root=PATH/TO/cifar10

PATH/TO/cifar10 holds `train/<class>/*` and `val/<class>/*`, or an archive of these. The model is that of
`../mae/vit-tiny_cifar10.py` with a target branch; batch, learning rate and epochs are the same, so that an image has
63 negatives. A step takes about twice as long as MAE's.

Published: nothing; the sizes and the schedule are this project's choice.
"""

_base_ = [
    '../_base_/models/cmae_vit.py',
    '../_base_/datasets/cifar10_two_views.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7]),
    backbone=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=32, patch_size=4),
    neck=dict(embed_dim=128, depth=2, num_heads=4),
    feature_decoder=dict(embed_dim=128, depth=1, num_heads=4),
    projector=dict(hidden_dim=384, out_dim=128),
    predictor=dict(hidden_dim=384, out_dim=128),
)
total_batch_size = 64
max_epochs = 3
warmup_epochs = 0.5
base_lr = 8e-3
default_hooks = dict(checkpoint=dict(interval=1))
