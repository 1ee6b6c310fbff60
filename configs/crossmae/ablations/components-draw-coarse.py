"""CrossMAE ablation, components: a drawing head, supervised with the smoothed image (Table 8).

    tools/dist_train.sh configs/crossmae/ablations/components-draw-coarse.py 8

Without noise and with pixels as the target: both are added further down in the table.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 83.3% fine-tuning, 71.2% linear. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(drawing_head=dict(noise='none'), target=dict(_delete_=True, type='PixelTarget'))
