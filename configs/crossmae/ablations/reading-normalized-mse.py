"""CrossMAE ablation, the squared distance of unit vectors in the place of the negative cosine.

    tools/dist_train.sh configs/crossmae/ablations/reading-normalized-mse.py 8

The document calls the two equivalent; the gradient is twice as large.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published: nothing; the document leaves it open. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(pred_loss='normalized_mse')
