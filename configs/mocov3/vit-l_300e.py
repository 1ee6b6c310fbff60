"""MoCo v3 with ViT-L/16 on ImageNet-1K, 300 epochs, by mmpretrain's model and pipeline.

    tools/dist_train.sh configs/mocov3/vit-l_300e.py 8 [--cfg-options data_root=PATH/TO/imagenet]

As vit-b_300e.py with another encoder; four batches are accumulated: `model.base_momentum=0.0025`. Published: 84.1%
after fine-tuning (quoted in GAN-MAE, Table 5). Not reproduced by this code, and not run. mmpretrain clips its
gradients.
"""

_base_ = './vit-b_300e.py'
model = dict(backbone=dict(arch='large'), neck=dict(in_channels=1024))
max_batch_per_device = 128
optim_wrapper = dict(clip_grad=dict(max_norm=5.0, error_if_nonfinite=False))
