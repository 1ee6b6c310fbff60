"""Vision ELECTRA ablation, without the GAN loss: the generator learns as MAE, for itself.

    tools/dist_train.sh configs/vision_electra/ablations/gan-weight-0.py 4

For 4 GPUs with 32 GB. Published: nothing; the supplement has no number for this. Not reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(gan_weight=0.0)
