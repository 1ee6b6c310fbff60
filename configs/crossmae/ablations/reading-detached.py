"""CrossMAE ablation, no gradient of the prediction in the drawing head.

    tools/dist_train.sh configs/crossmae/ablations/reading-detached.py 8

The document says that the whole is trained end-to-end; this is the other way.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published: nothing; the document leaves it open. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(end_to_end=False)
