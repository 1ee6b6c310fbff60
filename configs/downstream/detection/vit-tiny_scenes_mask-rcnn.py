r"""A small Mask R-CNN on a small ViT on drawn scenes, things of 10 classes at 96 px, for two CPU cores.

    python tools/datasets/make_scenes.py data/scenes
    python tools/train.py configs/downstream/detection/vit-tiny_scenes_mask-rcnn.py --cfg-options pretrained=CHECKPOINT

CHECKPOINT is what configs/quickstart/mae.py makes of the same scenes' images; without it the encoder is random. All
blocks attend over the whole map, and there are no relative positions. Scenes keep their size and are mirrored.

Published: nothing; sizes and schedule are this project's choice.
"""

_base_ = './vit-tiny_folder_mask-rcnn.py'
strides = [4, 8, 16]
model = dict(
    neck=dict(num_outs=3),
    rpn_head=dict(anchor_generator=dict(strides=strides)),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)), rpn_proposal=dict(nms_pre=300, max_per_img=100), rcnn=dict(sampler=dict(num=32))
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100), rcnn=dict(max_per_img=20)),
)
data_root = 'data/scenes/coco'
image_size = 96
train_pipeline = [
    dict(type='mmmim.LoadImage', decode='whole'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
max_epochs = 6
train_cfg = dict(val_interval=6)
