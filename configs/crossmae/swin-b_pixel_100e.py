"""CrossMAE with Swin-B and pixels on ImageNet-1K, 100 epochs.

    tools/dist_train.sh configs/crossmae/swin-b_pixel_100e.py 8

The target is the pixels of each patch, normalised as MAE's. The paper does not say whether their loss is Eq. 3 or
MAE's; Eq. 3 is the default, `model.pred_loss=mse model.pred_on=masked` the other.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 83.9% fine-tuning, 67.8% linear (Table 1). Not reproduced by this code yet.
"""

_base_ = './swin-b_100e.py'
model = dict(target=dict(_delete_=True, type='PixelTarget', norm_pix=True))
