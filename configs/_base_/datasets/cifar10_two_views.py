"""CIFAR-10 for CMAE: two views of each image, windows of one master crop.

Up to 3 pixels apart: the same share of a view as 31 at 224 px, rounded down.
"""

_base_ = './cifar10.py'
train_pipeline = [
    dict(type='LoadImage'),
    dict(
        type='PixelShift',
        size=32,
        master_size=36,
        max_shift=3,
        scale=(0.2, 1.0),
        interpolation='bicubic',
        flip_prob=0.5,
    ),
    dict(type='PackImage'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
