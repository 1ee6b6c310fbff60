"""GAN-MAE with ViT-S/16 on ImageNet-1K, 200 epochs.

    tools/dist_train.sh configs/gan_mae/vit-s_200e.py 8

For 8 GPUs with 80 GB: 512 images on each, no accumulation (the paper: 8 V100 with 32 GB). `max_batch_per_device` is an
estimate of what fits; the total batch and the learning rate stay. The weight gamma is that of one pass over all
devices. The decoder stays that of the larger models, wider than this encoder: a choice, the paper does not state it.

Published: nothing for this model and length. Not reproduced by this code yet.
"""

_base_ = [
    '../_base_/models/gan_mae_vit.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    scheme='adversarial',
    mask_ratio=0.75,
    backbone=dict(arch='small', img_size=224, patch_size=16),
    neck=dict(embed_dim=512, depth=8, num_heads=16),
    target=dict(norm_pix=False),
)
optim_wrapper = dict(constructor='PlayersOptimWrapperConstructor')
model_wrapper_cfg = dict(find_unused_parameters=True)
default_hooks = dict(discriminator=dict(type='DiscriminatorHook'))
total_batch_size = 4096
max_batch_per_device = 512
base_lr = 1.5e-4
max_epochs = 200
warmup_epochs = 40
