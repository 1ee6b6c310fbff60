r"""A fine-tuned Swin-B on ImageNet-C: mean corruption error.

    python tools/test.py configs/downstream/classification/robustness/swin-b_imagenet-c.py PATH/TO/CLASSIFIER.pth \
        --cfg-options data_root=PATH/TO/imagenet-c

Data and numbers as of vit-b_imagenet-c.py. `PATH/TO/CLASSIFIER.pth` is a checkpoint that
../swin-b_finetune_100e_crossmae.py wrote; nothing is trained here.

Published: mCE of 48.9 (CrossMAE with noise), 51.7 (without), 54.4 (supervised), quoted from CrossMAE's Table 11. Not
reproduced by this code yet.
"""

_base_ = './vit-b_imagenet-c.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmmim.MaskedSwin',
        arch='base',
        img_size=224,
        patch_size=4,
        window_size=7,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=dict(norm=None),
)
