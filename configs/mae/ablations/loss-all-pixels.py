"""MAE ablation, loss on all patches instead of the removed ones.

    tools/dist_train.sh configs/mae/ablations/loss-all-pixels.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides
("Reconstruction target"): "a slight decrease in accuracy (e.g., 0.5%)". Not reproduced by this code yet.
"""

_base_ = './_default.py'
model = dict(head=dict(loss_on='all'))
