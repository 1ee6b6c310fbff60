r"""ViT-B/16 fine-tuned with 10% of ImageNet-1K's labels.

    python tools/datasets/draw_label_subset.py data/imagenet/train --share 0.1 --out data/imagenet/10percent.txt
    tools/dist_train.sh configs/downstream/classification/few_labels/vit-b_10percent.py 8 \
        --cfg-options pretrained=PATH/TO/CHECKPOINT.pth

The first command is for those who do not have SimCLR's published list of the same name; elsewhere it is
`train_dataloader.dataset.ann_file=/path/to/10percent.txt`. Validated on all of ImageNet's validation images.

For 8 GPUs with 80 GB. No document states a schedule for few labels: 200 epochs (25,000 iterations of 1024 images) with
the rest of the full fine-tuning's recipe are this project's choice. Published: nothing for this model. Not reproduced
by this code yet.
"""

_base_ = '../vit-b_finetune_100e.py'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmmim.ImageSubset',
        data_root='data/imagenet',
        data_prefix=dict(img_path='train'),
        ann_file='10percent.txt',
        pipeline=_base_.train_dataloader.dataset.pipeline,
    )
)
max_epochs = 200
warmup_epochs = 10
train_cfg = dict(val_interval=10)
default_hooks = dict(checkpoint=dict(interval=10))
