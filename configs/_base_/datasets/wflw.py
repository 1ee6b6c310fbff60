"""WFLW's faces: `WFLW_images/` and `WFLW_annotations/` as its authors give them out. 7,500 to train on, 2,500 to test.

FaRL's recipe: the face fills 0.8 of the crop; in training 0.7 to 0.9, moved by up to 0.05 of the crop, turned by up to
0.174 radians, a part of it hidden; no mirroring (`mmmim.MirrorFace` is there). `image_size` is carried to the crops.
"""

data_root = 'data/wflw'
image_size = 448
train_pipeline = [
    dict(type='mmmim.LoadImage'),
    dict(type='mmmim.FaceCrop', size=image_size, grow=1 / 0.8, shift=0.05, rotate=0.174, scale=0.1),
    dict(type='mmmim.OccludeFace', prob=1.0, size=(0.1, 0.4)),
    dict(type='mmmim.PackLandmarks'),
]
test_pipeline = [
    dict(type='mmmim.LoadImage'),
    dict(type='mmmim.FaceCrop', size=image_size, grow=1 / 0.8),
    dict(type='mmmim.PackLandmarks'),
]
train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='mmmim.EpochSampler', shuffle=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(
        type='mmmim.WFLW',
        data_root='data/wflw',
        ann_file='WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='mmmim.EpochSampler', shuffle=False, pad=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(
        type='mmmim.WFLW',
        data_root='data/wflw',
        ann_file='WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_test.txt',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='mmmim.LandmarkError')
test_evaluator = val_evaluator
