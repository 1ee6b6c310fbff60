r"""Mask R-CNN on ViT-B/16 on any images with annotations in COCO's format, 25 epochs of large-scale jitter at 1024 px.

    tools/dist_train.sh configs/downstream/detection/vit-b_folder_mask-rcnn.py 8 \
        --cfg-options data_root=PATH/TO/DATA train_ann=train.json val_ann=val.json train_images=jpg val_images=jpg \
        pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 4 images each. The files of annotations and the folders of images lie below PATH/TO/DATA; without
these options they are called as in COCO 2017. The classes are those of the file; `classes` names some of them.

Published: nothing; the schedule is this project's choice, all else is as in vit-b_mask-rcnn_lsj-100e.py.
"""

_base_ = [
    '../../_base_/models/det_mask_rcnn_vit.py',
    '../../_base_/datasets/det_folder.py',
    '../../_base_/schedules/det_adamw_cosine.py',
    '../../_base_/det_runtime.py',
]
total_batch_size = 32
max_epochs = 25
warmup_epochs = 0.5
