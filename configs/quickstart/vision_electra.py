r"""Vision ELECTRA at 96 px on two CPU cores, beside `mae.py`: the same encoders, images, batch and epochs.

    python tools/datasets/make_scenes.py data/scenes
    python tools/train.py configs/quickstart/vision_electra.py

That is from scratch. Continual: both networks start from the checkpoint of an MAE of raw pixels (`mae.py` with
`model.target.norm_pix=False`):

    python tools/train.py configs/quickstart/vision_electra.py --cfg-options load_from=CHECKPOINT

No published result.
"""

_base_ = './mae.py'
model = dict(
    type='VisionELECTRA',
    generator=dict(type='MaskedViT', arch=dict(embed_dim=192, depth=6, num_heads=3), img_size=96, patch_size=8),
    noise_scale=0.1,
    target=dict(norm_pix=False),
    image_head=dict(type='ImageDiscriminationHead'),
    patch_head=dict(type='PatchDiscriminationHead'),
    gan_weight=0.2,
)
base_lr = 2e-3
lr_base_batch = 256
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)))
custom_hooks = [
    dict(
        type='KNNHook',
        interval=6,
        at_start=False,
        bank={{_base_.feature_eval.bank}},
        query={{_base_.feature_eval.query}},
        batch_size=100,
    ),
    dict(type='ReconstructionHook', interval=6),
    dict(type='HealthHook', interval=6, num_images=256),
]
default_hooks = dict(discriminator=dict(type='DiscriminatorHook'))
