r"""Linear probing of ViT-S/16 with CrossMAE's settings, 90 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-s_linear_90e_crossmae.py 8 \
        --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 16 GB. Settings: CrossMAE, Table 17: SGD, batch 512. The text names MoCo v3's and MAE's protocols,
from which the batch norm and the class token are taken.

Published: 66.8% (features) and 72.9% (CLIP) after 300 epochs of CrossMAE (Table 1). Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/vit_cls_linear.py',
    '../../_base_/datasets/imagenet_cls.py',
    '../../_base_/schedules/cls_linear_lars.py',
    '../../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(arch='small', img_size=224, patch_size=16, trainable_blocks=0), neck=dict(pool='cls', norm='batch')
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
total_batch_size = 512
max_batch_per_device = 64
base_lr = 0.1
max_epochs = 90
warmup_epochs = 10
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=base_lr, momentum=0.9, weight_decay=0.0))
