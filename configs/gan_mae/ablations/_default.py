"""The default of GAN-MAE's ablations, which the configs beside this one change by a line or two.

ViT-B/16, 800 epochs, adversarial, shared, 75%: the row that Tables 1, 2 and 3 have in common. All else is as in
`../vit-b_800e.py`.

    tools/dist_train.sh configs/gan_mae/ablations/_default.py 8

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published, quoted from the paper's Tables 1, 2 and 3:
84.3% fine-tuning. Not reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/gan_mae_vit.py',
    '../../_base_/datasets/imagenet.py',
    '../../_base_/schedules/mae_adamw.py',
    '../../_base_/default_runtime.py',
]
model = dict(
    scheme='adversarial',
    mask_ratio=0.75,
    backbone=dict(arch='base', img_size=224, patch_size=16),
    neck=dict(embed_dim=512, depth=8, num_heads=16),
    target=dict(norm_pix=False),
)
optim_wrapper = dict(constructor='PlayersOptimWrapperConstructor')
model_wrapper_cfg = dict(find_unused_parameters=True)
default_hooks = dict(discriminator=dict(type='DiscriminatorHook'))
total_batch_size = 4096
max_batch_per_device = 256
base_lr = 1.5e-4
max_epochs = 800
warmup_epochs = 40
