"""CrossMAE ablation, components: noise through the mapping network (Table 8).

    tools/dist_train.sh configs/crossmae/ablations/components-noise-mapped.py 8

The target is still pixels: the numbers are those of `../vit-b_pixel_300e.py` in Table 1.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 83.8% fine-tuning, 70.9% linear. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(target=dict(_delete_=True, type='PixelTarget'))
