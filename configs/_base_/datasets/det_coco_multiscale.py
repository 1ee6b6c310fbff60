"""COCO 2017, several scales: the short side 480 to 800 px, the long one up to 1333, half of the images cropped first.

DETR's augmentation, which iBOT's code for detection has, too. Tested at 1333 x 800. `data_root` is the folder with
`train2017`, `val2017` and `annotations`; `scale` is carried to every place it concerns.
"""

data_root = 'data/coco'
train_ann = 'annotations/instances_train2017.json'
val_ann = 'annotations/instances_val2017.json'
train_images = 'train2017'
val_images = 'val2017'
skip_broken = False  # True: objects whose outline is no mask of their image are left out, and counted
num_classes = 80
scale = (1333, 800)
sides = [(side, 1333) for side in range(480, 801, 32)]
train_pipeline = [
    dict(type='mmmim.LoadImage', decode='whole'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomChoiceResize', scales=sides, keep_ratio=True)],
            [
                dict(type='RandomChoiceResize', scales=[(400, 1333), (500, 1333), (600, 1333)], keep_ratio=True),
                dict(
                    type='RandomCrop',
                    crop_type='absolute_range',
                    crop_size=(384, 600),
                    recompute_bbox=True,
                    allow_negative_crop=True,
                ),
                dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2), keep_empty=False),
                dict(type='RandomChoiceResize', scales=sides, keep_ratio=True),
            ],
        ],
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = [  # the metric reads the annotations itself
    dict(type='mmmim.LoadImage', decode='whole'),
    dict(type='Resize', scale=scale, keep_ratio=True),
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
