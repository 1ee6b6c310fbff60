"""CrossMAE ablation, components: the baseline, mask-then-predict (Table 8).

    tools/dist_train.sh configs/crossmae/ablations/components-baseline.py 8

Figure 2a: MAE, with the recipe of CrossMAE's pre-training (Table 16).

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 83.0% fine-tuning, 54.3% linear. Not reproduced by this code yet.
"""

_base_ = '../../mae/vit-b_300e.py'
total_batch_size = 512
max_batch_per_device = 256
warmup_epochs = 20
