"""GAN-MAE ablation, an encoder for each player, the discriminator's is kept, 800 epochs (Table 1).

    tools/dist_train.sh configs/gan_mae/ablations/sharing-discriminator_800e.py 8

One training has both encoders. This one's generator is in its checkpoint, too, and a downstream config takes it with
`model.backbone.init_cfg.prefix=generator_backbone.`: `sharing-generator_800e.py` need not be trained.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published, quoted from the paper's Table 1: 84.2%
fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(sharing='separate', export='discriminator')
