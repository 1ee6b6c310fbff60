"""CrossMAE with ViT-B/16 on 1% of ImageNet-1K's images, for as many iterations as 300 epochs of all of them.

    python tools/datasets/draw_label_subset.py data/imagenet/train --share 0.01 --out data/imagenet/1percent.txt
    tools/dist_train.sh configs/crossmae/few_images/vit-b_1percent.py 8

The first command is for those who do not have SimCLR's published list of the same name; labels are not used. 12,811
images make 25 whole batches of 512 an epoch, where all images make 2,502: 30,024 epochs are 750,600 iterations
(300 epochs of all: 750,600), and the warm-up of 2,002 epochs is 50,050 (50,040).

For 8 GPUs with 80 GB. Published: 77.6% on iNaturalist 2019 after fine-tuning (Table 6), for which
configs/downstream/classification/transfer/vit-b_inaturalist2019_long.py has the recipe. "Under the same number of
iterations" names no number: that of 300 epochs is this project's reading. Not reproduced by this code yet.
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
max_epochs = 30024
warmup_epochs = 2002
default_hooks = dict(checkpoint=dict(interval=2000))
