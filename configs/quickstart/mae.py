"""MAE at 96 px for a first run on two CPU cores; `bash tools/quickstart.sh [FOLDER]` runs it with everything around it.

    python tools/datasets/make_scenes.py data/scenes
    python tools/train.py configs/quickstart/mae.py

The width, depth and decoder are a ViT-Tiny's of half its depth. A few minutes are enough to see features become better
than a random initialisation's; they are no published result.
"""

_base_ = ['../_base_/models/mae_vit.py', '../_base_/schedules/mae_adamw.py', '../_base_/default_runtime.py']
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=96, patch_size=8),
    neck=dict(embed_dim=128, depth=2, num_heads=4),
)
total_batch_size = 64
max_epochs = 30
warmup_epochs = 2
base_lr = 3e-3

data_root = 'data/scenes'
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=96, scale=(0.5, 1.0), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
test_pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=96, ratio=1.0), dict(type='PackImage')]
train_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='ImageFolder', data_root='data/scenes/train', pipeline=train_pipeline),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=2,
    sampler=dict(type='EpochSampler', shuffle=False, pad=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='ImageFolder', data_root='data/scenes/val', pipeline=test_pipeline),
)
test_cfg = dict()
test_evaluator = dict(type='ReconstructionMetric')
feature_eval = dict(
    bank=dict(type='ImageFolder', data_root='data/scenes/train', pipeline=test_pipeline),
    query=dict(type='ImageFolder', data_root='data/scenes/val', pipeline=test_pipeline),
    linear=True,
    ks=(20,),
    batch_size=100,
    num_workers=2,
)
custom_hooks = [
    # the quickstart measures the random initialisation by itself
    dict(
        type='KNNHook',
        interval=6,
        at_start=False,
        bank=feature_eval['bank'],
        query=feature_eval['query'],
        batch_size=100,
    ),
    dict(type='ReconstructionHook', interval=6, visible_statistics=True),
    dict(type='HealthHook', interval=6, num_images=256),
]

default_hooks = dict(
    bad_images=dict(max_share=1.0),  # a first look at a folder should not end at broken files; they are listed
    logger=dict(interval=15),
    checkpoint=dict(interval=15, interval_minutes=1),
)
