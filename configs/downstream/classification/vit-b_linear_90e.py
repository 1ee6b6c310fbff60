"""Linear probing of ViT-B/16 as in MAE, 90 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-b_linear_90e.py 8 --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 80 GB. The batch norm takes its statistics from one batch of all processes; with a lower
`max_batch_per_device` it takes them from each accumulated batch.

Settings: MAE, Table 10. The mirror image is not in that table, but in the authors' code.

Published: 67.8% after 1600 epochs of MAE (quoted in CrossMAE, Table 1). Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/vit_cls_linear.py',
    '../../_base_/datasets/imagenet_cls.py',
    '../../_base_/schedules/cls_linear_lars.py',
    '../../_base_/cls_runtime.py',
]
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
max_epochs = 90
