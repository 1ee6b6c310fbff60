"""Vision ELECTRA ablation, Swin-B as the discriminator, at 192 px.

    tools/dist_train.sh configs/vision_electra/ablations/discriminator-swin.py 4

The file is one of SimMIM's authors. For 4 GPUs with 32 GB. Published: nothing; the supplement has no number for this.
Not reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(
    masking='unit',  # blocks of 2 x 2 patches of the generator are the patches of Swin
    generator=dict(img_size=192),
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
