"""MAE ablation, target: pixels normalised in each patch, "pixel (w/ norm)" (Table 1d).

    tools/dist_train.sh configs/mae/ablations/target-pixel-norm.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1d:
85.4% fine-tuning, 73.9% linear. Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(target=dict(norm_pix=True))
