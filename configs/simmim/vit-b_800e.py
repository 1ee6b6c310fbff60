"""SimMIM with ViT-B/16 on ImageNet-1K, 800 epochs.

    tools/dist_train.sh configs/simmim/vit-b_800e.py 8

For 8 GPUs with 80 GB: 256 images on each, no accumulation. On smaller ones lower `max_batch_per_device`: more batches
are accumulated, and the total batch and the learning rate stay.

Settings: the authors' simmim_pretrain__vit_base__img224__800ep.yaml with the defaults of their code, for 16 GPUs with
128 images each: 60% of the units of 32 x 32 pixels are masked, the loss is the absolute error of their pixels, the head
is one linear layer, one table of relative positions serves all blocks. Base rate 1e-4 for 512 images, which is 5e-5 for
256; 10 epochs of warm-up; a tenth of the rate from epoch 700 on (690 after the warm-up, where MMEngine begins to
count); gradients are clipped at a norm of 5.

Published: 83.8% after fine-tuning, which configs/downstream/classification/vit-b_finetune_100e_simmim.py does (the
paper's abstract, the authors' README). Not reproduced by this code yet; a full run was not made.
"""

_base_ = [
    '../_base_/models/mae_vit.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    mask_ratio=0.6,
    masking='unit',
    mask_options=dict(unit=2),
    backbone=dict(type='MaskedRelativeViT', relative_positions='shared', layer_scale=0.1, drop_path_rate=0.1),
    neck=dict(_delete_=True, type='SimMIMDecoder'),
    target=dict(norm_pix=False),
    head=dict(norm='l1'),
)
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=224, scale=(0.67, 1.0), ratio=(3 / 4, 4 / 3), interpolation='bilinear'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
total_batch_size = 2048
base_lr = 5e-5
max_epochs = 800
warmup_epochs = 10
optim_wrapper = dict(
    clip_grad=dict(max_norm=5.0),
    optimizer=dict(betas=(0.9, 0.999)),
    paramwise_cfg=dict(flat_decay_mult=0.0, custom_keys=dict(cls_token=dict(decay_mult=0.0))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=5e-3, by_epoch=True, begin=0, convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[690], gamma=0.1, by_epoch=True, convert_to_iter_based=True),
]
