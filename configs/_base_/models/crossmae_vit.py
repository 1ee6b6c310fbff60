"""CrossMAE with ViT-B/16 and CLIP features; sizes that follow from the backbone and the target are filled in.

`target.weights` is the path of CLIP's weights; None: what timm's hub has left on this machine.
"""

model = dict(
    type='CrossMAE',
    data_preprocessor=dict(type='MIMDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    mask_ratio=0.75,
    masking='random',
    backbone=dict(type='MaskedViT', arch='base', img_size=224, patch_size=16),
    drawing_head=dict(type='DrawingHead', embed_dim=256, depth=2, num_heads=8, noise='mapped', noise_tokens='z_then_w'),
    draw_target=dict(type='BlurredPixelTarget', sigma=10.0),
    keep_visible=True,
    end_to_end=True,
    predictor=dict(type='LinearPredictor'),
    target=dict(type='CLIPTarget', model='vit_base_patch16_clip_quickgelu_224.openai', weights=None),
    pred_loss='cosine',
    pred_on='all',
    pred_weight=0.1,
)
