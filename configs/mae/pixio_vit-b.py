"""Pixio with ViT-B/16 on ImageNet-1K at 256 px, 800 epochs: MAE with what Pixio (2025) changes of it.

    tools/dist_train.sh configs/mae/pixio_vit-b.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. On smaller ones lower `max_batch_per_device`.

"In Pursuit of Pixel Supervision for Visual Pre-training" (arXiv 2512.15715) and its code (models_pixio.py; facts of it,
as its licence is non-commercial) have 8 class tokens, masks of 4 x 4 patches (4 of the 16 blocks stay), a decoder of 32
blocks of width 512, and position tables that are learned. `model.neck.depth` and `model.neck.embed_dim` are the
decoder's size. Class tokens are evaluated by their mean: `custom_hooks` with `pool='cls_mean'` in KNNHook,
`mmmim embed --pool cls_mean`.

The schedule is that of vit-b_800e.py, so that the two compare. Pixio's is for larger encoders and more images: ViT-H on
ImageNet (pretrain_pixio_vith16_imagenet.sh), 642,000 steps of 8192 images, a tenth of them warm-up, base rate 2.5e-5,
drop path 0.4.

Published: nothing for a ViT-B that is trained in this way; theirs is distilled from a ViT of 5.4 billion parameters,
and their images are two billion of the web. Not run.
"""

_base_ = './vit-b_800e.py'
model = dict(
    masking='unit',
    mask_options=dict(unit=4),
    backbone=dict(img_size=256, num_class_tokens=8, learned_positions=True),
    neck=dict(depth=32, learned_positions=True),
)
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=256, scale=(0.2, 1.0), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
test_pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=256, ratio=0.875), dict(type='PackImage')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
feature_eval = dict(bank=dict(pipeline=test_pipeline), query=dict(pipeline=test_pipeline))
max_batch_per_device = 256
