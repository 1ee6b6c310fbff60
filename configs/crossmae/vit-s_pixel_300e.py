"""CrossMAE with ViT-S/16 and pixels on ImageNet-1K, 300 epochs.

    tools/dist_train.sh configs/crossmae/vit-s_pixel_300e.py 8

The target is the pixels of each patch, normalised as MAE's. The paper does not say whether their loss is Eq. 3 or
MAE's; Eq. 3 is the default, `model.pred_loss=mse model.pred_on=masked` the other.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published: nothing for this target and encoder. Not reproduced by this code yet.
"""

_base_ = [
    '../_base_/models/crossmae_vit.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    mask_ratio=0.75,
    backbone=dict(arch='small', img_size=224, patch_size=16),
    drawing_head=dict(depth=2),
    draw_target=dict(sigma=10.0),
    predictor=dict(type='LinearPredictor'),
    target=dict(_delete_=True, type='PixelTarget', norm_pix=True),
    pred_weight=0.1,
)
total_batch_size = 512
max_batch_per_device = 256
base_lr = 1.5e-4
max_epochs = 300
warmup_epochs = 20
