r"""UperNet on ViT-B/16 on any images with index masks, 20K iterations.

    tools/dist_train.sh configs/downstream/segmentation/vit-b_folder_upernet.py 8 \
        --cfg-options data_root=PATH/TO/DATA num_classes=N pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each. PATH/TO/DATA has `images/training`, `images/validation` and, with the same names
below them, `annotations/training` and `annotations/validation`: PNGs whose pixels hold class numbers, 255 where there
is nothing to learn. Where 0 means unlabelled and class k is stored as k + 1, set `reduce_zero_label=True`. `classes`
names the classes. `scale` and `crop_size` are those of ADE20K.

Published: nothing; the schedule is this project's choice, all else is MAE's on ADE20K.
"""

_base_ = [
    '../../_base_/models/seg_upernet_vit.py',
    '../../_base_/datasets/seg_folder.py',
    '../../_base_/schedules/seg_adamw.py',
    '../../_base_/seg_runtime.py',
]
model = dict(decode_head=dict(channels=768))
num_classes = 150
max_iters = 20000
warmup_iters = 1000
train_cfg = dict(val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=2000))
