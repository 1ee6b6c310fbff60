r"""A fine-tuned ViT-B/16 on ImageNet-C: mean corruption error.

    python tools/test.py configs/downstream/classification/robustness/vit-b_imagenet-c.py PATH/TO/CLASSIFIER.pth \
        --cfg-options data_root=PATH/TO/imagenet-c

Reads `<corruption>/<severity>/<class>/*.JPEG`, or each corruption in its group (`noise/gaussian_noise/...`), as the
archives unpack. Prints the error of each corruption, the mCE (relative to AlexNet's errors) and the mean top-1. The
images are 224 px already, and are not cropped. A part of it: `test_dataloader.dataset.corruptions=[fog,snow]`,
`test_dataloader.dataset.severities=[3]`; there is no mCE then.

`PATH/TO/CLASSIFIER.pth` is a checkpoint that ../vit-b_finetune_100e.py wrote; nothing is trained here. Other sizes:
`model.backbone.arch=large`, or `huge` with `model.backbone.patch_size=14`.

Published: mCE of 51.7 (MAE), 49.5 (GAN-MAE), 42.5 (supervised), quoted from the GAN-MAE paper's Table 6. Not
reproduced by this code yet.
"""

_base_ = '../vit-b_finetune_100e.py'
data_root = 'data/imagenet-c'
test_pipeline = [
    dict(type='mmmim.LoadImage'),
    dict(type='mmmim.CenterCrop', size=224, ratio=1.0),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'replaced', 'seed')),
]
test_dataloader = dict(
    dataset=dict(_delete_=True, type='mmmim.ImageNetC', data_root='data/imagenet-c', pipeline=test_pipeline)
)
test_evaluator = dict(_delete_=True, type='mmmim.MeanCorruptionError')
