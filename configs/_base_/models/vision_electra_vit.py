"""Vision ELECTRA with two ViT-B/16; sizes that follow from the networks and the target are filled in.

The supplement states the architectures and the weight of the GAN loss. The weights of the two levels, the strength of
the noise and the form of the GAN loss are this project's choice.
"""

model = dict(
    type='VisionELECTRA',
    data_preprocessor=dict(type='MIMDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    mask_ratio=0.75,
    masking='random',
    # the generator: encoder, noise in its latent space, decoder
    generator=dict(type='MaskedViT', arch='base', img_size=224, patch_size=16),
    noise_scale=0.1,
    noise_per='token',
    neck=dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16),
    target=dict(type='PixelTarget', norm_pix=False),
    head=dict(type='ReconstructionHead', loss_on='masked'),
    # the discriminator, which is kept
    backbone=dict(type='MaskedViT', arch='base', img_size=224, patch_size=16),
    image_head=dict(type='ImageDiscriminationHead'),
    patch_head=dict(type='PatchDiscriminationHead'),
    fake_image='composite',
    image_weight=1.0,
    patch_weight=1.0,
    gan_loss='non_saturating',
    gan_weight=0.2,
)
