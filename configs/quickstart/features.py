"""Features of a public network as the target, at 96 px on two CPU cores, beside `mae.py`: the same images and epochs.

    pip install -e .[baseline]
    python tools/datasets/make_scenes.py data/scenes
    python tools/train.py configs/quickstart/features.py

The encoder sees a random third of the patches and predicts at them, by the cosine and without a decoder, the features
of an EfficientNet-Lite0 that was trained on ImageNet (18 MB, Apache-2.0), each channel standardised. The network runs
once on each image, before training; the crops are taken of what it gave (`target_cache` in the work dir). Other
networks of timm, and Hugging Face's hub:

    --cfg-options model.target.model=timm:vit_small_patch14_dinov2.lvd142m

No published result.
"""

_base_ = './mae.py'
model = dict(
    neck=dict(_delete_=True, type='LinearPredictor'),
    target=dict(_delete_=True, type='TimmTarget', model='efficientnet-lite0', standardise=True, cache=True),
    head=dict(_delete_=True, type='FeatureHead', loss_on='visible'),
    mask_ratio=0.67,
)
default_hooks = dict(target_cache=dict(type='TargetCacheHook'))
