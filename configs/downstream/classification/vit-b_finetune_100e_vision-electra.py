r"""Fine-tuning of ViT-B/16 with Vision ELECTRA's settings, 100 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-b_finetune_100e_vision-electra.py 4 \
        --cfg-options pretrained=CHECKPOINT

For 4 GPUs with 32 GB. Settings: the supplement's section on classification. It says "a batch size set at 160" on 4
GPUs, not whether that is one GPU's or all of theirs: here one GPU's, as it says of pre-training "80 for each GPU".
The other reading is `total_batch_size=160`. Nor does it say how the base rate of 1.25e-3 scales: here with the batch
over 256, as everywhere in this project; over 512, as in the code of SimMIM, is `base_lr=6.25e-4`. The augmentation is
BEiT's. The supplement states no accuracy for this model. Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/vit_cls.py',
    '../../_base_/datasets/imagenet_cls.py',
    '../../_base_/schedules/cls_finetune_adamw.py',
    '../../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(arch='base', img_size=224, patch_size=16, drop_path_rate=0.1),
    neck=dict(pool='mean', norm='layer'),
    head=dict(loss=dict(label_smooth_val=0.1)),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
total_batch_size = 640
max_batch_per_device = 160
base_lr = 1.25e-3
max_epochs = 100
warmup_epochs = 20
optim_wrapper = dict(optimizer=dict(weight_decay=0.05), paramwise_cfg=dict(layer_decay_rate=0.9))
