r"""A small UperNet on a small ViT, 96 px, on any images with index masks, for two CPU cores.

    python tools/train.py configs/downstream/segmentation/vit-tiny_folder_upernet.py \
        --cfg-options data_root=PATH/TO/DATA num_classes=N pretrained=CHECKPOINT

PATH/TO/DATA: see vit-b_folder_upernet.py. Images are fitted into `scale` (long, short side); where things are small
in them, take a larger one, which needs no other `crop_size`. CHECKPOINT is what configs/mae/vit-tiny_folder.py makes;
without it the encoder is random.

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
num_classes = 10
crop_size = 96
scale = (384, 96)
max_iters = 1000
warmup_iters = 50
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.75))
train_cfg = dict(val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
