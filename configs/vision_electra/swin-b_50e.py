"""Vision ELECTRA, continual pre-training: two Swin-B that start from SimMIM's, ImageNet-1K at 192 px, 50 epochs.

    tools/dist_train.sh configs/vision_electra/swin-b_50e.py 4

For 4 GPUs with 32 GB. SimMIM's authors publish the file in data/, with its mask token and decoder
(https://github.com/microsoft/SimMIM); it starts the generator and the discriminator. What is removed, predicted and
told apart are patches of 32 x 32 pixels; 75% of them, where SimMIM removes 60%. Swin has no class token: the macro
level sees the mean of the patches. The learning rate is read as in `vit-b_50e.py`.

Published: the supplement has no number for Swin. Not reproduced by this code yet.
"""

_base_ = './vit-b_50e.py'
model = dict(
    pretrained_generator='data/simmim_pretrain__swin_base__img192_window6__800ep.pth',
    generator=dict(_delete_=True, type='MaskedSwin', arch='base', img_size=192, window_size=6, mask_tokens=True),
    neck=dict(_delete_=True, type='SimMIMDecoder'),
    head=dict(norm='l1'),
    backbone=dict(
        _delete_=True,
        type='MaskedSwin',
        arch='base',
        img_size=192,
        window_size=6,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint=('data/simmim_pretrain__swin_base__img192_window6__800ep.pth'),
        ),
    ),
)
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=192, scale=(0.67, 1.0), ratio=(3 / 4, 4 / 3), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
test_pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=192, ratio=0.875), dict(type='PackImage')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
feature_eval = dict(bank=dict(pipeline=test_pipeline), query=dict(pipeline=test_pipeline))
