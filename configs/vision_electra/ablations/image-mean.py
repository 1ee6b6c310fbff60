"""Vision ELECTRA ablation, an image is summed up by its patches' mean instead of the class token.

    tools/dist_train.sh configs/vision_electra/ablations/image-mean.py 4

For 4 GPUs with 32 GB. Published: nothing; the supplement has no number for this. Not reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(image_head=dict(pool='mean'))
