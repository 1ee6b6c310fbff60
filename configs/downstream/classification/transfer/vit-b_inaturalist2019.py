r"""ViT-B/16 fine-tuned on iNaturalist 2019: 265,213 + 3,030 images of 1,010 species.

    tools/dist_train.sh configs/downstream/classification/transfer/vit-b_inaturalist2019.py 8 \
        --cfg-options data_root=PATH/TO/inaturalist2019 pretrained=PATH/TO/CHECKPOINT.pth

Reads the competition's layout as it is: `train2019.json`, `val2019.json` and the folder `train_val2019/`.

For 8 GPUs with 80 GB. The slides do not state the learning rate and epochs for this set; the recipe is that of
ImageNet. Published: 80.5%, quoted from the slides' Table 6 (MAE, ViT-B). CrossMAE's paper transfers to this set too
(Table 6), from encoders pre-trained on 1% and 10% of the images. Not reproduced by this code yet.
"""

_base_ = '../vit-b_finetune_100e.py'
data_root = 'data/inaturalist2019'
num_classes = 1010
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.INaturalist',
        data_root='data/inaturalist2019',
        year=2019,
        split='train',
        pipeline=_base_.train_dataloader.dataset.pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.INaturalist',
        data_root='data/inaturalist2019',
        year=2019,
        split='val',
        pipeline=_base_.val_dataloader.dataset.pipeline,
    )
)
test_dataloader = val_dataloader
