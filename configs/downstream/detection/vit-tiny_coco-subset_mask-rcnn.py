r"""A small Mask R-CNN on a small ViT on 318 photographs of COCO, 80 classes at 160 px, for two CPU cores.

    python tools/train.py configs/downstream/detection/vit-tiny_coco-subset_mask-rcnn.py \
        --cfg-options data_root=PATH/TO/coco_subset pretrained=CHECKPOINT

PATH/TO/coco_subset has `train2017`, `val2017` and `annotations`, as COCO 2017, with some of its images. CHECKPOINT is
what configs/mae/vit-tiny_folder.py makes; without it the encoder is random. So few images teach 80 classes little: the
numbers are for comparing two starts, not for use.

Published: nothing; sizes and schedule are this project's choice.
"""

_base_ = './vit-tiny_folder_mask-rcnn.py'
data_root = 'data/coco_subset'
train_pipeline = [
    dict(type='mmmim.LoadImage', decode='whole'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=(160, 160), ratio_range=(0.5, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_type='absolute', crop_size=(160, 160), recompute_bbox=True, allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2), keep_empty=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
max_epochs = 30
warmup_epochs = 1
train_cfg = dict(val_interval=10)
