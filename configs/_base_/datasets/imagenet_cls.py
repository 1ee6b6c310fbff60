"""ImageNet-1K at 224 px to fine-tune on: RandAugment(9, 0.5), random erasing 0.25 (MAE's fine-tuning).

Linear probing replaces the training pipeline by a crop and a flip.
"""

data_root = 'data/imagenet'
train_pipeline = [
    dict(type='mmmim.LoadImage'),
    dict(type='mmmim.RandomResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bicubic'),
    dict(type='mmmim.RandomFlip', prob=0.5),
    dict(
        type='mmmim.AsBGR',
        transforms=[
            dict(
                type='RandAugment',
                policies='timm_increasing',
                num_policies=2,
                total_level=10,
                magnitude_level=9,
                magnitude_std=0.5,
                hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
            )
        ],
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[123.675, 116.28, 103.53],
        fill_std=[58.395, 57.12, 57.375],
    ),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'replaced', 'seed')),
]
test_pipeline = [
    dict(type='mmmim.LoadImage'),
    dict(type='mmmim.CenterCrop', size=224, ratio=0.875),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'replaced', 'seed')),
]
train_dataloader = dict(
    num_workers=10,
    persistent_workers=True,
    sampler=dict(type='mmmim.EpochSampler', shuffle=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='mmmim.ImageFolder', data_root='data/imagenet/train', with_label=True, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    sampler=dict(type='mmmim.EpochSampler', shuffle=False, pad=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='mmmim.ImageFolder', data_root='data/imagenet/val', with_label=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
