"""CrossMAE with ViT-S/16 and pixels on ImageNet-1K, 300 epochs.

    tools/dist_train.sh configs/crossmae/vit-s_pixel_300e.py 8

The target is the pixels of each patch, normalised as MAE's. The paper does not say whether their loss is Eq. 3 or
MAE's; Eq. 3 is the default, `model.pred_loss=mse model.pred_on=masked` the other.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published: nothing for this target and encoder. Not reproduced by this code yet.
"""

_base_ = './vit-b_pixel_300e.py'
model = dict(backbone=dict(arch='small'))
