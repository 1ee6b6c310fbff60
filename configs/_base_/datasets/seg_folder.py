"""Any images with index masks: `images/training/*` with `annotations/training/*.png`, the same below `validation`.

A mask has its image's name and, in each pixel, the number of a class; 255 is ignored. With `reduce_zero_label=True`
0 is, too, and class k is stored as k + 1; `label_map.255=1` reads 255 as class 1. Other folders:
`train_dataloader.dataset.data_prefix.img_path` and so on.
`crop_size` and `scale` are carried to every place they concern.
"""

data_root = 'data/segmentation'
reduce_zero_label = False
label_map = {}
crop_size = 512
scale = (2048, 512)
train_pipeline = [
    dict(type='mmmim.LoadImage', decode='whole'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(crop_size, crop_size), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmmim.LoadImage', decode='whole'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations'),  # after the resize: predictions are measured at the image's own size
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='mmmim.MaskFolder',
        data_root='data/segmentation',
        reduce_zero_label=reduce_zero_label,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmmim.MaskFolder',
        data_root='data/segmentation',
        reduce_zero_label=reduce_zero_label,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='mmmim.PlainMetric', metric=dict(type='IoUMetric', iou_metrics=['mIoU']))
test_evaluator = val_evaluator
