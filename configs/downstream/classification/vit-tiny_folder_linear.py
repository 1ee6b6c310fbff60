r"""Linear probing of a small ViT at 96 px on any class folder, for two CPU cores.

    python tools/train.py configs/downstream/classification/vit-tiny_folder_linear.py \
        --cfg-options data_root=PATH/TO/PHOTOS num_classes=N pretrained=CHECKPOINT

PATH/TO/PHOTOS holds `train/<class>/*` and `val/<class>/*`, N classes; other folders are
`train_dataloader.dataset.data_root`, `val_dataloader.dataset.data_root` and `test_dataloader.dataset.data_root`.
CHECKPOINT is what configs/mae/vit-tiny_folder.py makes; without it the encoder is random.

Published: nothing; the size and the schedule are this project's choice.
"""

_base_ = [
    '../../_base_/models/vit_cls_linear.py',
    '../../_base_/datasets/folder_cls.py',
    '../../_base_/schedules/cls_linear_lars.py',
    '../../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=96, patch_size=8),
    neck=dict(pool='mean'),
)
num_classes = 10
total_batch_size = 256
max_epochs = 20
warmup_epochs = 1
optim_wrapper = dict(optimizer=dict(type='SGD'))
