"""CMAE with ViT-B/16 as in the paper; sizes that follow from the backbone and the target are filled in.

The paper names neither the sizes of projector and predictor nor the strengths of the colour changes: those are the
authors' public code's.
"""

model = dict(
    type='CMAE',
    data_preprocessor=dict(
        type='ViewPreprocessor',
        target_view=dict(
            type='ColorAugment',
            brightness=0.4,
            contrast=0.4,
            saturation=0.4,
            hue=0.1,
            prob=0.8,
            gray_prob=0.2,
            blur_prob=0.0,
            blur_sigma=(0.1, 2.0),
        ),
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    mask_ratio=0.75,
    masking='random',
    backbone=dict(type='MaskedViT', arch='base', img_size=224, patch_size=16),
    neck=dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16),
    feature_decoder=dict(type='MAEDecoder', embed_dim=512, depth=2, num_heads=16),
    feature_out='embed_dim',
    target=dict(type='PixelTarget', norm_pix=True),
    head=dict(type='ReconstructionHead', loss_on='masked'),
    projector=dict(type='Projector', hidden_dim=1536, out_dim=256),
    predictor=dict(type='Projector', hidden_dim=1536, out_dim=256),
    contrast_head=dict(type='ContrastiveHead', kind='infonce', temperature=0.07, scale=1.0),
    contrast_weight=1.0,
    momentum=0.996,
    target_mask_ratio=0.0,
)
