"""Any folder of images at 96 px for CMAE: two views of each image, windows of one master crop.

Up to 13 pixels apart: the same share of a view as 31 at 224 px.
"""

_base_ = './folder.py'
train_pipeline = [
    dict(type='LoadImage'),
    dict(
        type='PixelShift',
        size=96,
        master_size=110,
        max_shift=13,
        scale=(0.2, 1.0),
        interpolation='bicubic',
        flip_prob=0.5,
    ),
    dict(type='PackImage'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
