"""CrossMAE ablation, a U-Net as drawing head (Table 13).

    tools/dist_train.sh configs/crossmae/ablations/drawing-unet.py 8

The paper says nothing of its size.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 84.1% fine-tuning, 1.7 times the cost of 2 blocks. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(drawing_head=dict(_delete_=True, type='UNetDrawingHead'))
