r"""A small UperNet on a small ViT on drawn faces with 98 landmarks, 96 px, for two CPU cores.

    python tools/datasets/make_faces.py data/faces
    python tools/train.py configs/downstream/landmarks/vit-tiny_faces_upernet.py --cfg-options pretrained=CHECKPOINT

CHECKPOINT is what configs/crossmae/vit-tiny_pixel_folder.py makes of `data/faces/WFLW_images/train`; without it the
encoder is random. Any faces in WFLW's layout will do: `data_root`.

Published: nothing; sizes and schedule are this project's choice.
"""

_base_ = [
    '../../_base_/models/landmarks_upernet_vit.py',
    '../../_base_/datasets/wflw.py',
    '../../_base_/schedules/landmarks_adamw.py',
    '../../_base_/landmarks_runtime.py',
]
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), patch_size=8, out_indices=(1, 2, 3, 5)
    ),
    head=dict(channels=64),
    heatmap_size=48,
)
data_root = 'data/faces'
train_dataloader = dict(num_workers=2, dataset=dict(data_root=data_root))
val_dataloader = dict(num_workers=2, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
image_size = 96
total_batch_size = 16
max_epochs = 20
warmup_epochs = 1
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone.': dict(lr_mult=0.1)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(interval=5))
