"""Linear probing of ViT-L/16 as in MAE, 90 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-l_linear_90e.py 8 --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 80 GB. The batch norm takes its statistics from one batch of all processes; with a lower
`max_batch_per_device` it takes them from each accumulated batch.

Settings: MAE, Table 10. The mirror image is not in that table, but in the authors' code.

Published: 73.5% after 800 epochs of MAE with unnormalised pixels (slides). Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/vit_cls_linear.py',
    '../../_base_/datasets/imagenet_cls.py',
    '../../_base_/schedules/cls_linear_lars.py',
    '../../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(arch='large', img_size=224, patch_size=16, trainable_blocks=0), neck=dict(pool='cls', norm='batch')
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mmmim.LoadImage'),
            dict(type='mmmim.RandomResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bicubic'),
            dict(type='mmmim.RandomFlip', prob=0.5),
            dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'replaced', 'seed')),
        ]
    )
)
total_batch_size = 16384
max_batch_per_device = 1024
base_lr = 0.1
max_epochs = 90
warmup_epochs = 10
