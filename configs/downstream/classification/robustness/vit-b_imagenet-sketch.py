r"""A fine-tuned ViT-B/16 on ImageNet-Sketch: drawings of all 1000 classes.

    python tools/test.py configs/downstream/classification/robustness/vit-b_imagenet-sketch.py PATH/TO/CLASSIFIER.pth \
        --cfg-options data_root=PATH/TO/imagenet-sketch

Reads 1000 class folders `n01440764/*.JPEG` (the archive's `sketch/`).

`PATH/TO/CLASSIFIER.pth` is a checkpoint that ../vit-b_finetune_100e.py wrote; nothing is trained here. Other sizes:
`model.backbone.arch=large`, or `huge` with `model.backbone.patch_size=14`.

Published: top-1 of 34.5 (MAE), 35.9 (GAN-MAE), 36.0 (supervised), quoted from the GAN-MAE paper's Table 6. Not
reproduced by this code yet.
"""

_base_ = '../vit-b_finetune_100e.py'
data_root = 'data/imagenet-sketch'
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.ImageNetVariant',
        data_root='data/imagenet-sketch',
        num_folders=1000,
        pipeline=_base_.test_dataloader.dataset.pipeline,
    )
)
