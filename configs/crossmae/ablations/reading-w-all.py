"""CrossMAE ablation, the mapped noise w enters every block.

    tools/dist_train.sh configs/crossmae/ablations/reading-w-all.py 8

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published: nothing; the document leaves it open. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(drawing_head=dict(noise_tokens='w_all'))
