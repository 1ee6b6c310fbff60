"""MAE ablation, data augmentation: none (Table 1e).

    tools/dist_train.sh configs/mae/ablations/aug-none.py 8

The slides do not state what "none" still does: the central crop of evaluation, without flips, is a choice.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 1e:
84.0% fine-tuning, 65.7% linear. Not reproduced by this code yet.
"""

_base_ = './_default.py'
train_dataloader = dict(
    dataset=dict(
        pipeline=[dict(type='LoadImage'), dict(type='CenterCrop', size=224, ratio=0.875), dict(type='PackImage')]
    )
)
