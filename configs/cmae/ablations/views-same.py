"""CMAE ablation, views: neither crop, shift nor colour (Table 4b).

    tools/dist_train.sh configs/cmae/ablations/views-same.py 8

Both branches get the same crop. As the number is that of Table 4a's baseline, the row may also mean MAE alone: that is
`../../mae/vit-b_300e.py`.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: the negatives stay those of the step. Published,
quoted from the paper's Table 4b: 82.9% fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(data_preprocessor=dict(target_view=None))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImage'),
            dict(type='PixelShift', size=224, master_size=225, max_shift=0),
            dict(type='PackImage'),
        ]
    )
)
