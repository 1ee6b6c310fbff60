"""SimMIM with Swin-B on ImageNet-1K at 192 px, 100 epochs.

    tools/dist_train.sh configs/simmim/swin-b_100e.py 8

For 8 GPUs with 80 GB: 256 images on each, no accumulation. On smaller ones lower `max_batch_per_device`: more batches
are accumulated, and the total batch and the learning rate stay.

Settings: the authors' simmim_pretrain__swin_base__img192_window6__100ep.yaml with the defaults of their code, for 16
GPUs with 128 images each: 60% of the units of 32 x 32 pixels are masked, which are the places of the last map. Base
rate 2e-4 for 512 images, which is 1e-4 for 256; 10 epochs of warm-up, half a cosine down to a twentieth of the rate;
gradients are clipped at a norm of 5.

Published: 83.5% fine-tuning (quoted in CrossMAE, Table 1). Fine-tuning of a Swin-B:
configs/downstream/classification/swin-b_finetune_100e_crossmae.py. Not reproduced by this code yet; a full run was not
made.
"""

_base_ = './vit-b_800e.py'
model = dict(
    masking='random',
    mask_options=None,
    backbone=dict(_delete_=True, type='MaskedSwin', arch='base', img_size=192, window_size=6, mask_tokens=True),
)
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=192, scale=(0.67, 1.0), ratio=(3 / 4, 4 / 3), interpolation='bilinear'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
test_pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=192, ratio=0.875), dict(type='PackImage')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
feature_eval = dict(bank=dict(pipeline=test_pipeline), query=dict(pipeline=test_pipeline))
base_lr = 1e-4
max_epochs = 100
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(_delete_=True, relative_position_bias_table=dict(decay_mult=0.0)))
)
param_scheduler = [
    dict(type='LinearLR', start_factor=5e-3, by_epoch=True, begin=0, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=True, convert_to_iter_based=True),
]
