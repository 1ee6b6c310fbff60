r"""Partial fine-tuning of ViT-L/16: the last block, or `model.backbone.trainable_blocks` of them.

    tools/dist_train.sh configs/downstream/classification/vit-l_partial.py 8 --cfg-options pretrained=CHECKPOINT

The curve over several numbers of blocks (0: a linear layer on frozen features; 0.5: the last block's MLP):

    python tools/analysis/sweep_partial.py configs/downstream/classification/vit-l_partial.py \
        --blocks 0,0.5,1,2,4,6,12,18,24 \
        --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

Settings: those of fine-tuning; MAE trains 50, 100 or 200 epochs and reports the best for each number of blocks, as
fewer blocks want longer schedules: `max_epochs`, here 50, is that option.

Published: a figure without numbers (MAE, Fig. 9). Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/vit_cls.py',
    '../../_base_/datasets/imagenet_cls.py',
    '../../_base_/schedules/cls_finetune_adamw.py',
    '../../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(arch='large', img_size=224, patch_size=16, drop_path_rate=0.2, trainable_blocks=1),
    neck=dict(pool='mean', norm='layer'),
    head=dict(loss=dict(label_smooth_val=0.1)),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
total_batch_size = 1024
max_batch_per_device = 128
base_lr = 1e-3
max_epochs = 50
warmup_epochs = 5
optim_wrapper = dict(optimizer=dict(weight_decay=0.05), paramwise_cfg=dict(layer_decay_rate=0.75))
