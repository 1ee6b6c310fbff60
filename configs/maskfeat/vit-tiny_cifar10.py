"""MaskFeat at 32 px on CIFAR-10, for two CPU cores.

    python tools/train.py configs/maskfeat/vit-tiny_cifar10.py --cfg-options data_root=PATH/TO/cifar10

PATH/TO/cifar10 holds `train/<class>/*` and `val/<class>/*`, or an archive of these. The encoder sees mask tokens, so
that a step costs more than MAE's (configs/mae/vit-tiny_cifar10.py), whose size and schedule these are. Blocks of at
least 6 of the 64 patches are masked; HOG's cells are a whole patch. Published: nothing.
"""

_base_ = '../mae/vit-tiny_cifar10.py'
model = dict(
    mask_ratio=0.4,
    masking='block',
    mask_options=dict(min_block_patches=6),
    backbone=dict(mask_tokens=True),
    neck=dict(_delete_=True, type='LinearPredictor'),
    target=dict(_delete_=True, type='HOGTarget', cell_size=4),
)
