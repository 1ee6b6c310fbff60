r"""ViT-B/16 fine-tuned on Places365: 1.8 million images of 365 scenes.

    tools/dist_train.sh configs/downstream/classification/transfer/vit-b_places365.py 8 \
        --cfg-options data_root=PATH/TO/places365 pretrained=PATH/TO/CHECKPOINT.pth

Reads the published layout as it is: `places365_train_standard.txt` with `data_256/` (or `data_256_standard/`,
`data_large/`), `places365_val.txt` with `val_256/` (or `val_large/`); or class folders `train/<class>/*` and
`val/<class>/*`.

For 8 GPUs with 80 GB. The slides do not state the learning rate and epochs for this set; the recipe is that of
ImageNet. Published: 57.9%, quoted from the slides' Table 6 (MAE, ViT-B). Not reproduced by this code yet.
"""

_base_ = '../vit-b_finetune_100e.py'
data_root = 'data/places365'
num_classes = 365
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.Places',
        data_root='data/places365',
        version=365,
        split='train',
        pipeline=_base_.train_dataloader.dataset.pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.Places',
        data_root='data/places365',
        version=365,
        split='val',
        pipeline=_base_.val_dataloader.dataset.pipeline,
    )
)
test_dataloader = val_dataloader
