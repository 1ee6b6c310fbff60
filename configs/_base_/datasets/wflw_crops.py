"""The face crops of WFLW for pre-training at 224 px: the boxes are used, the points are not.

A square around the face, which fills 0.8 of it, takes the place of ImageNet's image: random crops of it, mirrored or
not.
"""

data_root = 'data/wflw'
face = [dict(type='LoadImage'), dict(type='FaceCrop', size=256, grow=1 / 0.8)]
train_pipeline = [
    *face,
    dict(type='RandomResizedCrop', size=224, scale=(0.2, 1.0), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
test_pipeline = [*face, dict(type='CenterCrop', size=224, ratio=0.875), dict(type='PackImage')]
train_dataloader = dict(
    num_workers=10,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(
        type='WFLW',
        data_root='data/wflw',
        ann_file='WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt',
        pipeline=train_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=256,
    num_workers=10,
    sampler=dict(type='EpochSampler', shuffle=False, pad=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(
        type='WFLW',
        data_root='data/wflw',
        ann_file='WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_test.txt',
        pipeline=test_pipeline,
    ),
)
test_cfg = dict()
test_evaluator = dict(type='ReconstructionMetric')
