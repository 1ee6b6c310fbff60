"""Vision ELECTRA ablation, one noise vector for all tokens of an image.

    tools/dist_train.sh configs/vision_electra/ablations/noise-per-image.py 4

For 4 GPUs with 32 GB. Published: nothing; the supplement has no number for this. Not reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(noise_per='image')
