r"""MAE with ViT-B/16 that predicts the features of DINO's ViT-S/16 on ImageNet-1K, 300 epochs.

    tools/dist_train.sh configs/mae/vit-b_dino-features.py 8

The target is the last block's patch tokens after the norm; the loss is the negative cosine on the removed patches. The
weights of DINO (Caron et al., 2021) are timm's, from the cache of Hugging Face or the hub:

    python -c "import timm; timm.create_model('vit_small_patch16_224.dino', pretrained=True)"

or a file, `model.target.weights=dino_deitsmall16_pretrain.pth` of https://github.com/facebookresearch/dino. Any other
network of timm or of the hub: `model.target.model`.

For 8 GPUs with 80 GB: 512 images on each, no accumulation. Published: nothing; the recipe is MAE's of this length, the
target this project's choice. Not run at full length.
"""

_base_ = './vit-b_300e.py'
model = dict(
    target=dict(_delete_=True, type='TimmTarget', model='timm:vit_small_patch16_224.dino'),
    head=dict(_delete_=True, type='FeatureHead', loss_on='masked', kind='cosine'),
)
