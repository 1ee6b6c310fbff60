r"""Pixio at 128 px on any folder of images, for two CPU cores: pixio_vit-b.py with the small encoder.

    python tools/train.py configs/mae/pixio_vit-tiny_folder.py --cfg-options data_root=PATH/TO/PHOTOS

Patches of 8 pixels are 16 x 16 of them, as Pixio has at 256 px, and a mask keeps 4 of its 16 blocks of 4 x 4. The
decoder is twice as deep as that of vit-tiny_folder.py; folders, k-NN and `tools/test.py` are as there.

Published: nothing; the size and the schedule are this project's choice. Run for 47 steps of 64 photographs, still in
the warm-up: loss from 1.56 (steps 1 to 10) to 1.16. With 16 a step, `base_lr=1e-2` and a warm-up of 19 steps, 100 steps
took it from 1.21 to 0.85; the mean of a patch predicts 1.
"""

_base_ = './vit-tiny_folder.py'
model = dict(
    masking='unit',
    mask_options=dict(unit=4),
    backbone=dict(img_size=128, num_class_tokens=8, learned_positions=True),
    neck=dict(depth=4, learned_positions=True),
)
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=128, scale=(0.2, 1.0), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackImage'),
]
test_pipeline = [dict(type='LoadImage'), dict(type='CenterCrop', size=128, ratio=0.875), dict(type='PackImage')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
feature_eval = dict(bank=dict(pipeline=test_pipeline), query=dict(pipeline=test_pipeline))
