r"""ViT-B/16 fine-tuned on iNaturalist 2017: 579,184 + 95,986 images of 5,089 species.

    tools/dist_train.sh configs/downstream/classification/transfer/vit-b_inaturalist2017.py 8 \
        --cfg-options data_root=PATH/TO/inaturalist2017 pretrained=PATH/TO/CHECKPOINT.pth

Reads the competition's layout as it is: `train2017.json`, `val2017.json` and the folder `train_val_images/`.

For 8 GPUs with 80 GB. The slides do not state the learning rate and epochs for this set; the recipe is that of
ImageNet. Published: 70.5%, quoted from the slides' Table 6 (MAE, ViT-B). Not reproduced by this code yet.
"""

_base_ = '../vit-b_finetune_100e.py'
data_root = 'data/inaturalist2017'
num_classes = 5089
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.INaturalist',
        data_root='data/inaturalist2017',
        year=2017,
        split='train',
        pipeline=_base_.train_dataloader.dataset.pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.INaturalist',
        data_root='data/inaturalist2017',
        year=2017,
        split='val',
        pipeline=_base_.val_dataloader.dataset.pipeline,
    )
)
test_dataloader = val_dataloader
