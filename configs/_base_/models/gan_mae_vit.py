"""GAN-MAE with ViT-B/16 as in the paper; sizes that follow from the backbone and the target are filled in.

The target is raw pixels, of which the completed image is made. Beside the model, a config needs optimizers for the two
players and, because each leaves the other's parameters out, processes that look for unused ones.
"""

model = dict(
    type='GANMAE',
    data_preprocessor=dict(type='MIMDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    mask_ratio=0.75,
    masking='random',
    backbone=dict(type='MaskedViT', arch='base', img_size=224, patch_size=16),
    neck=dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16),
    target=dict(type='PixelTarget', norm_pix=False),
    head=dict(type='ReconstructionHead', loss_on='masked'),
    patch_head=dict(type='PatchDiscriminationHead'),
    scheme='adversarial',
    alternate='iteration',
    sharing='shared',
    gamma='adaptive',
    gamma_layer='decoder_pred',
    gamma_delta=1e-6,
    gamma_max=None,
    adv_loss='saturating',
)
