"""The default of Vision ELECTRA's ablations, which the configs beside this one change by a few lines.

    tools/dist_train.sh configs/vision_electra/ablations/_default.py 4

All is as in `../vit-b_50e.py`, which says what the two files in data/ are. For 4 GPUs with 32 GB. Published: quoted
from the supplement's Table 1: 83.43% fine-tuning. Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/vision_electra_vit.py',
    '../../_base_/datasets/imagenet.py',
    '../../_base_/schedules/mae_adamw.py',
    '../../_base_/default_runtime.py',
]
model = dict(
    pretrained_generator='data/mae_visualize_vit_base.pth',
    mask_ratio=0.75,
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='data/mae_pretrain_vit_base.pth', prefix='backbone.')),
    gan_weight=0.2,
)
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=224, scale=(0.67, 1.0), ratio=(3 / 4, 4 / 3), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
total_batch_size = 320
max_batch_per_device = 80
base_lr = 2e-5
lr_base_batch = 256
max_epochs = 50
warmup_epochs = 10
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999), weight_decay=0.05))
custom_hooks = [dict(type='DiscriminatorHook')]
