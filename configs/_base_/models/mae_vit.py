"""MAE with ViT-B/16; sizes that follow from the backbone and the target are filled in."""

model = dict(
    type='MAE',
    data_preprocessor=dict(type='MIMDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    mask_ratio=0.75,
    masking='random',
    backbone=dict(type='MaskedViT', arch='base', img_size=224, patch_size=16),
    neck=dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16),
    target=dict(type='PixelTarget', norm_pix=True),
    head=dict(type='ReconstructionHead', loss_on='masked'),
)
