"""CIFAR-10 with labels, from class folders (`train/<class>/*`, `val/<class>/*`) or from an archive of them."""

data_root = 'data/cifar10'
train_pipeline = [
    dict(type='mmmim.LoadImage'),
    dict(type='mmmim.RandomResizedCrop', size=32, scale=(0.2, 1.0), interpolation='bicubic'),
    dict(type='mmmim.RandomFlip', prob=0.5),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'replaced', 'seed')),
]
test_pipeline = [
    dict(type='mmmim.LoadImage'),
    dict(type='mmmim.Resize', size=32),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'replaced', 'seed')),
]
train_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='mmmim.EpochSampler', shuffle=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='mmmim.CIFAR10', data_root='data/cifar10', split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='mmmim.EpochSampler', shuffle=False, pad=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='mmmim.CIFAR10', data_root='data/cifar10', split='val', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
