"""CrossMAE ablation, target: CLIP, 100 epochs (Table 9).

    tools/dist_train.sh configs/crossmae/ablations/target-clip_100e.py 8

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 83.9% fine-tuning, 50.1 mIoU on ADE20K, 49.3 box AP on COCO. Not reproduced by this
code yet.
"""

_base_ = '../vit-b_300e.py'
max_epochs = 100
