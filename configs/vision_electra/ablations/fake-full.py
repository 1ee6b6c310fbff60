"""Vision ELECTRA ablation, the discriminator is shown the generator's patches everywhere.

    tools/dist_train.sh configs/vision_electra/ablations/fake-full.py 4

All of them count as generated. The reconstruction loss stays on masked patches, so that what the generator paints over
visible ones has the GAN loss alone: `model.head.loss_on=all` trains them, too. For 4 GPUs with 32 GB. Published:
nothing; the supplement has no number for this. Not reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(fake_image='full')
