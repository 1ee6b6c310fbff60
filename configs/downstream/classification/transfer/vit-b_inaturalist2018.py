r"""ViT-B/16 fine-tuned on iNaturalist 2018: 437,513 + 24,426 images of 8,142 species.

    tools/dist_train.sh configs/downstream/classification/transfer/vit-b_inaturalist2018.py 8 \
        --cfg-options data_root=PATH/TO/inaturalist2018 pretrained=PATH/TO/CHECKPOINT.pth

Reads the competition's layout as it is: `train2018.json`, `val2018.json` and the folder `train_val2018/`.

For 8 GPUs with 80 GB. The slides do not state the learning rate and epochs for this set; the recipe is that of
ImageNet. Published: 75.4%, quoted from the slides' Table 6 (MAE, ViT-B). Not reproduced by this code yet.
"""

_base_ = '../vit-b_finetune_100e.py'
data_root = 'data/inaturalist2018'
num_classes = 8142
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.INaturalist',
        data_root='data/inaturalist2018',
        year=2018,
        split='train',
        pipeline=_base_.train_dataloader.dataset.pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.INaturalist',
        data_root='data/inaturalist2018',
        year=2018,
        split='val',
        pipeline=_base_.val_dataloader.dataset.pipeline,
    )
)
test_dataloader = val_dataloader
