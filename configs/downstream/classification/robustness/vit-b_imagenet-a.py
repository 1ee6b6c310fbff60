r"""A fine-tuned ViT-B/16 on ImageNet-A: natural adversarial examples of 200 classes.

    python tools/test.py configs/downstream/classification/robustness/vit-b_imagenet-a.py PATH/TO/CLASSIFIER.pth \
        --cfg-options data_root=PATH/TO/imagenet-a

Reads 200 class folders `n01498041/*.jpg`. `imagenet-a/top1` is the accuracy among these 200 classes, as the set's
authors measure it, `top1_all_classes` that among all 1000; the papers do not say which they report.

`PATH/TO/CLASSIFIER.pth` is a checkpoint that ../vit-b_finetune_100e.py wrote; nothing is trained here. Other sizes:
`model.backbone.arch=large`, or `huge` with `model.backbone.patch_size=14`.

Published: top-1 of 35.9 (MAE), 36.8 (GAN-MAE), 35.8 (supervised), quoted from the GAN-MAE paper's Table 6. Not
reproduced by this code yet.
"""

_base_ = '../vit-b_finetune_100e.py'
data_root = 'data/imagenet-a'
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.ImageNetVariant',
        data_root='data/imagenet-a',
        num_folders=200,
        pipeline=_base_.test_dataloader.dataset.pipeline,
    )
)
test_evaluator = dict(_delete_=True, type='mmmim.SubsetAccuracy', prefix='imagenet-a')
