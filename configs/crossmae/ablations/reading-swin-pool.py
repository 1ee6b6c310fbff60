"""CrossMAE ablation, Swin-B predicts the mean of the four features under each of its places.

    tools/dist_train.sh configs/crossmae/ablations/reading-swin-pool.py 8

Appendix A.3, against section 4.1, which the default follows.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published: nothing; the document leaves it open. Not reproduced by this code yet.
"""

_base_ = '../swin-b_100e.py'
model = dict(swin_match='target_pool')
