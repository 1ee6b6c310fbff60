r"""Fine-tuning of ViT-S/16 with CrossMAE's settings, 100 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-s_finetune_100e_crossmae.py 8 \
        --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

Settings: CrossMAE, Table 18, which does not depend on the size of the model; see vit-b_finetune_100e_crossmae.py.

Published: 82.1% (features) and 82.5% (CLIP) after 300 epochs of CrossMAE (Table 1). Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/vit_cls.py',
    '../../_base_/datasets/imagenet_cls.py',
    '../../_base_/schedules/cls_finetune_adamw.py',
    '../../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(arch='small', img_size=224, patch_size=16, drop_path_rate=0.1),
    neck=dict(pool='mean', norm='layer'),
    head=dict(loss=dict(label_smooth_val=0.1)),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
total_batch_size = 1024
max_batch_per_device = 128
base_lr = 1e-3
max_epochs = 100
warmup_epochs = 5
optim_wrapper = dict(optimizer=dict(weight_decay=0.05), paramwise_cfg=dict(layer_decay_rate=0.65))
