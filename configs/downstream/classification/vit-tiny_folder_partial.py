r"""Partial fine-tuning of a small ViT at 96 px on any class folder, for two CPU cores.

    python tools/train.py configs/downstream/classification/vit-tiny_folder_partial.py \
        --cfg-options data_root=PATH/TO/PHOTOS num_classes=N pretrained=CHECKPOINT

PATH/TO/PHOTOS holds `train/<class>/*` and `val/<class>/*`, N classes; other folders are
`train_dataloader.dataset.data_root`, `val_dataloader.dataset.data_root` and `test_dataloader.dataset.data_root`.
CHECKPOINT is what configs/mae/vit-tiny_folder.py makes; without it the encoder is random.

The last block is trained, or `model.backbone.trainable_blocks` of the six (0.5: its MLP);
tools/benchmarks/sweep_partial.py draws the curve.

Published: nothing; the size and the schedule are this project's choice.
"""

_base_ = './vit-tiny_folder_finetune.py'
model = dict(backbone=dict(trainable_blocks=1))
