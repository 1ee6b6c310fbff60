"""ImageNet-1K as class folders, for pre-training at 224 px."""

data_root = 'data/imagenet'
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=224, scale=(0.2, 1.0), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
test_pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=224, ratio=0.875), dict(type='PackImage')]
# a worker reads and crops some 700 photographs a second (tools/benchmarks/README.md)
train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='ImageFolder', data_root='data/imagenet/train', pipeline=train_pipeline),
)
test_dataloader = dict(
    batch_size=256,
    num_workers=4,
    sampler=dict(type='EpochSampler', shuffle=False, pad=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='ImageFolder', data_root='data/imagenet/val', pipeline=test_pipeline),
)
test_cfg = dict()
test_evaluator = dict(type='ReconstructionMetric')
# every 50 epochs, by a twentieth of the training images
custom_hooks = [dict(type='KNNHook', interval=50, at_start=False, bank_share=0.05)]
feature_eval = dict(
    bank=dict(type='ImageFolder', data_root='data/imagenet/train', pipeline=test_pipeline),
    query=dict(type='ImageFolder', data_root='data/imagenet/val', pipeline=test_pipeline),
    ks=(20,),
    batch_size=256,
    num_workers=4,
)
