"""Vision ELECTRA ablation, pixels normalised in each patch.

    tools/dist_train.sh configs/vision_electra/ablations/target-pixel-norm.py 4

Generated patches get the mean and variance of the original ones, which the generator does not know. The file is the
original MAE's with decoder. For 4 GPUs with 32 GB. Published: nothing; the supplement has no number for this. Not
reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(pretrained_generator='data/mae_pretrain_vit_base_full.pth', target=dict(norm_pix=True))
