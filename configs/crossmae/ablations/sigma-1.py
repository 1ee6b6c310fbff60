"""CrossMAE ablation, blur of the coarse target: sigma 1 (Table 15).

    tools/dist_train.sh configs/crossmae/ablations/sigma-1.py 8

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 84.2% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(draw_target=dict(sigma=1.0))
