"""COCO 2017, large-scale jitter: images at 0.1 to 2 times a square of 1024 px, cropped to it and padded to it.

Tested in the same square. `data_root` is the folder with `train2017`, `val2017` and `annotations`; `image_size` is
carried to every place it concerns.
"""

data_root = 'data/coco'
train_ann = 'annotations/instances_train2017.json'
val_ann = 'annotations/instances_val2017.json'
train_images = 'train2017'
val_images = 'val2017'
skip_broken = False  # True: objects whose outline is no mask of their image are left out, and counted
num_classes = 80
image_size = 1024
train_pipeline = [
    dict(type='mmmim.LoadImage', decode='whole'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=(image_size, image_size), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(
        type='RandomCrop',
        crop_type='absolute',
        crop_size=(image_size, image_size),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2), keep_empty=False),  # empty: a crop of background
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [  # the metric reads the annotations itself
    dict(type='mmmim.LoadImage', decode='whole'),
    dict(type='Resize', scale=(image_size, image_size), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmmim.CocoDataset',
        data_root='data/coco',
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmmim.CocoDataset', data_root='data/coco', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(
    type='mmmim.PlainMetric',
    prefix='coco',
    default=dict(bbox_mAP=0.0, segm_mAP=0.0),  # where nothing is found
    metric=dict(type='mmmim.CocoMetric', metric=['bbox', 'segm']),
)  # its ann_file is the data set's
test_evaluator = val_evaluator
