"""CrossMAE ablation, components: noise concatenated to the input (Table 8).

    tools/dist_train.sh configs/crossmae/ablations/components-noise-concat.py 8

An image of noise is one more channel; `model.drawing_head.concat=token` makes it one more token. The target is still
pixels.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 83.2% fine-tuning, 69.7% linear. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(drawing_head=dict(noise='concat', concat='channel'), target=dict(_delete_=True, type='PixelTarget'))
