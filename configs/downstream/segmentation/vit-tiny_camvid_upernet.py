r"""A small UperNet on a small ViT on CamVid's street scenes, 11 classes at half resolution, for two CPU cores.

    python tools/train.py configs/downstream/segmentation/vit-tiny_camvid_upernet.py \
        --cfg-options data_root=PATH/TO/camvid pretrained=CHECKPOINT

PATH/TO/camvid has `images/{training,validation}` and `annotations/{training,validation}`, 0 for unlabelled and k + 1
for class k in the order below. CHECKPOINT is what configs/mae/vit-tiny_folder.py makes; without it the encoder is
random. Images are tested as a whole.

Published: nothing; sizes and schedule are this project's choice.
"""

_base_ = [
    '../../_base_/models/seg_upernet_vit.py',
    '../../_base_/datasets/seg_folder.py',
    '../../_base_/schedules/seg_adamw.py',
    '../../_base_/seg_runtime.py',
]
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), patch_size=8, out_indices=(1, 2, 3, 5)
    ),
    decode_head=dict(channels=64),
    auxiliary_head=dict(channels=32),
    test_cfg=dict(_delete_=True, mode='whole'),
)
data_root = 'data/camvid'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
classes = (
    'sky',
    'building',
    'pole',
    'road',
    'pavement',
    'tree',
    'sign symbol',
    'fence',
    'car',
    'pedestrian',
    'bicyclist',
)
reduce_zero_label = True
crop_size = 160
scale = (240, 180)
total_batch_size = 8
max_iters = 1500
warmup_iters = 100
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.75))
train_cfg = dict(val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
