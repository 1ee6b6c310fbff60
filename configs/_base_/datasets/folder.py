"""Any folder of images at 96 px. Without a held-out folder the same images are tested on."""

data_root = 'data/photos'
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=96, scale=(0.2, 1.0), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
test_pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=96, ratio=0.875), dict(type='PackImage')]
train_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='ImageFolder', data_root='data/photos', with_label='auto', pipeline=train_pipeline),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=2,
    sampler=dict(type='EpochSampler', shuffle=False, pad=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='ImageFolder', data_root='data/photos', with_label='auto', pipeline=test_pipeline),
)
test_cfg = dict()
test_evaluator = dict(type='ReconstructionMetric')
# k-NN needs two sets of labelled images: of one set, every image would be its own nearest neighbour
feature_eval = dict(
    bank=dict(type='ImageFolder', data_root='data/photos/train', with_label='auto', pipeline=test_pipeline),
    query=dict(type='ImageFolder', data_root='data/photos/val', with_label='auto', pipeline=test_pipeline),
    ks=(20,),
    batch_size=64,
    num_workers=2,
)
