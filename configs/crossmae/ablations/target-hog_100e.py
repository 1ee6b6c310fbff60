"""CrossMAE ablation, target: HOG, 100 epochs (Table 9).

    tools/dist_train.sh configs/crossmae/ablations/target-hog_100e.py 8

MaskFeat's HOG, which the paper follows.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 83.4% fine-tuning, 48.5 mIoU on ADE20K, 48.9 box AP on COCO. Not reproduced by this
code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(target=dict(_delete_=True, type='HOGTarget'))
max_epochs = 100
