r"""Supervised training from scratch of a small ViT at 96 px on any class folder, for two CPU cores.

    python tools/train.py configs/downstream/classification/vit-tiny_folder_scratch.py \
        --cfg-options data_root=PATH/TO/PHOTOS num_classes=N

PATH/TO/PHOTOS holds `train/<class>/*` and `val/<class>/*`, N classes; other folders are
`train_dataloader.dataset.data_root`, `val_dataloader.dataset.data_root` and `test_dataloader.dataset.data_root`. As
long as fine-tuning, to compare with it.

Published: nothing; the size and the schedule are this project's choice.
"""

_base_ = './vit-tiny_folder_finetune.py'
model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
