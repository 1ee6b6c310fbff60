"""Any images with annotations in COCO's format: polygons or run lengths, boxes, classes; large-scale jitter.

`train_ann` and `val_ann` are the json files, `train_images` and `val_images` the folders that their file names start
from, all relative to `data_root`. `classes` names the classes in the json's order; None: all that the json has. A
training image is resized to 0.1 to 2 times the square of `image_size`, cropped to it and padded to it.
"""

data_root = 'data/detection'
train_ann = 'annotations/instances_train2017.json'
val_ann = 'annotations/instances_val2017.json'
train_images = 'train2017'
val_images = 'val2017'
skip_broken = False  # True: objects whose outline is no mask of their image are left out, and counted
num_classes = None  # as many as the json has
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
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmmim.CocoDataset',
        data_root='data/detection',
        filter_cfg=dict(filter_empty_gt=True, min_size=0),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmmim.CocoDataset', data_root='data/detection', test_mode=True, pipeline=test_pipeline),
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
