"""Vision ELECTRA ablation, the patch level (micro) alone.

    tools/dist_train.sh configs/vision_electra/ablations/level-patch.py 4

The GAN loss is of this level alone, too. For 4 GPUs with 32 GB. Published: nothing; the supplement has no number for
this. Not reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(image_head=None)
