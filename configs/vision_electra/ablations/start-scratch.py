"""Vision ELECTRA ablation, from scratch instead of from MAE.

    tools/dist_train.sh configs/vision_electra/ablations/start-scratch.py 4

Section 0.2: the loss fluctuates, "difficult to converge", and "frequently leads to model collapse". For 4 GPUs with 32
GB. Published: the supplement has a curve, but no number for this. Not reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(pretrained_generator=None, backbone=dict(init_cfg=None))
