r"""A small UperNet on a small ViT on drawn scenes with 14 classes, for two CPU cores.

    python tools/datasets/make_scenes.py data/scenes
    python tools/train.py configs/downstream/segmentation/vit-tiny_scenes_upernet.py --cfg-options pretrained=CHECKPOINT

CHECKPOINT is what configs/quickstart/mae.py makes of the same scenes' images; without it the encoder is random.

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
)
data_root = 'data/scenes/ade'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
classes = (
    'ball',
    'basket',
    'butterfly',
    'cactus',
    'fish',
    'house',
    'leaf',
    'mug',
    'starfish',
    'wheel',
    'sky',
    'hill',
    'wall',
    'ground',
)
reduce_zero_label = True
crop_size = 96
scale = (384, 96)
max_iters = 1000
warmup_iters = 50
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.75))
train_cfg = dict(val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
