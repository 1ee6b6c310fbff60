"""SimMIM at 32 px on CIFAR-10, for two CPU cores.

    python tools/train.py configs/simmim/vit-tiny_cifar10.py --cfg-options data_root=PATH/TO/cifar10

PATH/TO/cifar10 holds `train/<class>/*` and `val/<class>/*`, or an archive of these. The encoder sees mask tokens, so
that a step costs more than MAE's (configs/mae/vit-tiny_cifar10.py), whose size and schedule these are. Units of 8 x 8
pixels are masked. Published: nothing.
"""

_base_ = '../mae/vit-tiny_cifar10.py'
model = dict(
    mask_ratio=0.6,
    masking='unit',
    mask_options=dict(unit=2),
    backbone=dict(mask_tokens=True),
    neck=dict(_delete_=True, type='SimMIMDecoder'),
    target=dict(norm_pix=False),
    head=dict(norm='l1'),
)
