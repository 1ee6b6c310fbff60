"""CrossMAE ablation, target: features of a momentum encoder, 100 epochs (Table 9).

    tools/dist_train.sh configs/crossmae/ablations/target-ema_100e.py 8

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 83.6% fine-tuning, 50.3 mIoU on ADE20K, 49.2 box AP on COCO. Not reproduced by this
code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(target=dict(_delete_=True, type='MomentumTarget', ema_momentum=0.996))
custom_hooks = [
    dict(type='CosineMomentumHook', end=1.0),
    dict(type='KNNHook', interval=50, at_start=False, bank_share=0.05),
]
max_epochs = 100
