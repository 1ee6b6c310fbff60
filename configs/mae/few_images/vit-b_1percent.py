"""MAE with ViT-B/16 on 1% of ImageNet-1K's images, for as many iterations as 300 epochs of all of them.

    python tools/datasets/draw_label_subset.py data/imagenet/train --share 0.01 --out data/imagenet/1percent.txt
    tools/dist_train.sh configs/mae/few_images/vit-b_1percent.py 8

The first command is for those who do not have SimCLR's published list of the same name; labels are not used. 12,811
images make 3 whole batches of 4096 an epoch, where all images make 312: 31,200 epochs are the same 93,600 iterations,
and the warm-up of 4,160 epochs is the same 12,480.

For 8 GPUs with 80 GB: 512 images on each, no accumulation. Published: nothing for MAE. Quoted from the CrossMAE
paper's Table 6, whose protocol this is (same number of iterations, then fine-tuning on iNaturalist 2019): BEiT 74.1%,
SplitMask 74.8%, CrossMAE 77.6%. How many iterations it means is not stated there: 300 epochs' are this project's
reading, as in its main table. Not reproduced by this code yet.
"""

_base_ = '../vit-b_300e.py'
train_dataloader = dict(
    dataset=dict(
        type='ImageSubset',
        data_root='data/imagenet',
        data_prefix=dict(img_path='train'),
        ann_file='1percent.txt',
        with_label=False,
    )
)
max_epochs = 31200
warmup_epochs = 4160
default_hooks = dict(checkpoint=dict(interval=2000))
