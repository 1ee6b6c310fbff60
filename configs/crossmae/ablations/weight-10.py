"""CrossMAE ablation, loss weight lambda: 10 (Table 15).

    tools/dist_train.sh configs/crossmae/ablations/weight-10.py 8

A run that diverges is stopped, with the files and the losses before it in non_finite.json.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: "diverge". Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(pred_weight=10.0)
