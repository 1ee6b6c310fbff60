"""CIFAR-10 from class folders (`train/<class>/*`, `val/<class>/*`) or from an archive of them."""

data_root = 'data/cifar10'
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=32, scale=(0.2, 1.0), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
test_pipeline = [dict(type='LoadImage'), dict(type='Resize', size=32), dict(type='PackImage')]
train_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='CIFAR10', data_root='data/cifar10', split='train', pipeline=train_pipeline),
)
test_dataloader = dict(
    batch_size=256,
    num_workers=1,
    sampler=dict(type='EpochSampler', shuffle=False, pad=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='CIFAR10', data_root='data/cifar10', split='val', pipeline=test_pipeline),
)
test_cfg = dict()
test_evaluator = dict(type='ReconstructionMetric')
feature_eval = dict(
    bank=dict(type='CIFAR10', data_root='data/cifar10', split='train', pipeline=test_pipeline),
    query=dict(type='CIFAR10', data_root='data/cifar10', split='val', pipeline=test_pipeline),
    bank_share=0.5,
    ks=(20,),
    batch_size=256,
    num_workers=1,
)
