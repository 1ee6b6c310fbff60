"""CrossMAE ablation, target: Canny's edges, 100 epochs (Table 9).

    tools/dist_train.sh configs/crossmae/ablations/target-canny_100e.py 8

By Eq. 3 a patch without edges has no loss; `model.pred_loss=mse` counts it.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 82.2% fine-tuning, 47.5 mIoU on ADE20K, 48.6 box AP on COCO. Not reproduced by this
code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(target=dict(_delete_=True, type='CannyTarget'))
max_epochs = 100
