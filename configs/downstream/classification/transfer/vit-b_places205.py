r"""ViT-B/16 fine-tuned on Places205: 2.4 million images of 205 scenes.

    tools/dist_train.sh configs/downstream/classification/transfer/vit-b_places205.py 8 \
        --cfg-options data_root=PATH/TO/places205 pretrained=PATH/TO/CHECKPOINT.pth

Reads the published layout as it is: `train_places205.csv` and `val_places205.csv`, in `trainvalsplit_places205/` or
not, with the images under `data/vision/torralba/deeplearning/images256/` or `images256/`; or class folders
`train/<class>/*` and `val/<class>/*`.

For 8 GPUs with 80 GB. The slides do not state the learning rate and epochs for this set; the recipe is that of
ImageNet. Published: 63.9%, quoted from the slides' Table 6 (MAE, ViT-B). Not reproduced by this code yet.
"""

_base_ = '../vit-b_finetune_100e.py'
data_root = 'data/places205'
num_classes = 205
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.Places',
        data_root='data/places205',
        version=205,
        split='train',
        pipeline=_base_.train_dataloader.dataset.pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.Places',
        data_root='data/places205',
        version=205,
        split='val',
        pipeline=_base_.val_dataloader.dataset.pipeline,
    )
)
test_dataloader = val_dataloader
