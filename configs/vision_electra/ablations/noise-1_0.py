"""Vision ELECTRA ablation, noise in the latent space ten times as strong.

    tools/dist_train.sh configs/vision_electra/ablations/noise-1_0.py 4

As strong as the tokens themselves. For 4 GPUs with 32 GB. Published: nothing; the supplement has no number for this.
Not reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(noise_scale=1.0)
