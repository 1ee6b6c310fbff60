"""CMAE at 96 px on two CPU cores, beside `mae.py`: the same encoder, images, batch, epochs and learning rate.

    python tools/datasets/make_scenes.py data/scenes
    python tools/train.py configs/quickstart/cmae.py

What it adds: a second view, up to 13 pixels away (the same share as 31 at 224 px) and in other colours, a target
encoder that sees it whole, and a contrast of the two. An image's negatives are the 63 others of its batch, few beside
the paper's 4095. No published result.
"""

_base_ = './mae.py'
model = dict(
    type='CMAE',
    data_preprocessor=dict(
        type='ViewPreprocessor',
        target_view=dict(
            type='ColorAugment', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8, gray_prob=0.2
        ),
    ),
    feature_decoder=dict(type='MAEDecoder', embed_dim=128, depth=1, num_heads=4),
    projector=dict(type='Projector', hidden_dim=384, out_dim=128),
    predictor=dict(type='Projector', hidden_dim=384, out_dim=128),
    contrast_head=dict(type='ContrastiveHead', temperature=0.07),
    contrast_weight=1.0,
    momentum=0.996,
)
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='PixelShift', size=96, master_size=110, max_shift=13, scale=(0.5, 1.0), interpolation='bicubic'),
    dict(type='PackImage'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
