"""GAN-MAE with ViT-B/16 on ImageNet-1K, 800 epochs.

    tools/dist_train.sh configs/gan_mae/vit-b_800e.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated (the paper: 8 V100 with 32 GB). `max_batch_per_device`
is an estimate of what fits; the total batch and the learning rate stay. The weight gamma is that of one pass over all
devices.

Published: quoted from the paper's Tables 1, 2, 3 and 5: 84.3% fine-tuning (317.5 hours on 8 V100, Table 2); 49.5 mIoU
on ADE20K (Table 7), 49.0 box AP and 43.8 mask AP on COCO (Table 8, whose length is not stated). Not reproduced by this
code yet.
"""

_base_ = [
    '../_base_/models/gan_mae_vit.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(constructor='PlayersOptimWrapperConstructor')
model_wrapper_cfg = dict(find_unused_parameters=True)
default_hooks = dict(discriminator=dict(type='DiscriminatorHook'))
max_epochs = 800
