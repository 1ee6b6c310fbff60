"""Vision ELECTRA ablation, the generator maximises the discriminator's loss (minimax) instead of minimising its own.

    tools/dist_train.sh configs/vision_electra/ablations/gan-minimax.py 4

The gradient comes from the discriminator's own pass, which saves one. For 4 GPUs with 32 GB. Published: nothing; the
supplement has no number for this. Not reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(gan_loss='minimax')
