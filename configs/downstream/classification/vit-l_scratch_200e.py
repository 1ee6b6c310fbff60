"""The supervised baseline of MAE: ViT-L/16 from scratch, 200 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-l_scratch_200e.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

Settings: MAE, Table 11; see vit-b_scratch_300e.py.

Published: 82.5% (slides, "scratch, our impl."). Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/vit_cls.py',
    '../../_base_/datasets/imagenet_cls.py',
    '../../_base_/schedules/cls_finetune_adamw.py',
    '../../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(arch='large', img_size=224, patch_size=16, drop_path_rate=0.2, init_cfg=None),
    neck=dict(pool='mean', norm='layer'),
    head=dict(loss=dict(label_smooth_val=0.1)),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
total_batch_size = 4096
max_batch_per_device = 128
base_lr = 1e-4
max_epochs = 200
warmup_epochs = 20
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.95), weight_decay=0.3), paramwise_cfg=dict(layer_decay_rate=1.0))
ema_decay = 0.9999
