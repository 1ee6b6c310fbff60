"""Any class folder at 96 px: `train/<class>/*` to train on, `val/<class>/*` to validate.

Crop and flip only: the stronger augmentation of datasets/imagenet_cls.py pays in long schedules.
"""

data_root = 'data/photos'
train_pipeline = [
    dict(type='mmmim.LoadImage'),
    dict(type='mmmim.RandomResizedCrop', size=96, scale=(0.2, 1.0), interpolation='bicubic'),
    dict(type='mmmim.RandomFlip', prob=0.5),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'replaced', 'seed')),
]
test_pipeline = [
    dict(type='mmmim.LoadImage'),
    dict(type='mmmim.CenterCrop', size=96, ratio=0.875),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'replaced', 'seed')),
]
train_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='mmmim.EpochSampler', shuffle=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='mmmim.ImageFolder', data_root='data/photos/train', with_label=True, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='mmmim.EpochSampler', shuffle=False, pad=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='mmmim.ImageFolder', data_root='data/photos/val', with_label=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
