"""ImageNet-1K for CMAE: two views of each image, windows of one master crop, up to 31 pixels apart."""

_base_ = './imagenet.py'
train_pipeline = [
    dict(type='LoadImage'),
    dict(
        type='PixelShift',
        size=224,
        master_size=256,
        max_shift=31,
        scale=(0.2, 1.0),
        interpolation='bicubic',
        flip_prob=0.5,
    ),
    dict(type='PackImage'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
