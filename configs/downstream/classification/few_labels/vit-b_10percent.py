r"""ViT-B/16 fine-tuned with 10% of ImageNet-1K's labels.

    python tools/datasets/draw_label_subset.py data/imagenet/train --share 0.1 --out data/imagenet/10percent.txt
    tools/dist_train.sh configs/downstream/classification/few_labels/vit-b_10percent.py 8 \
        --cfg-options pretrained=PATH/TO/CHECKPOINT.pth

The first command is for those who do not have SimCLR's published list of the same name; elsewhere it is
`train_dataloader.dataset.ann_file=/path/to/10percent.txt`. Validated on all of ImageNet's validation images.

For 8 GPUs with 80 GB; iBOT's recipe, see vit-s_1percent.py. Published: nothing for this model. Not reproduced by this
code yet.
"""

_base_ = './vit-s_10percent.py'
model = dict(backbone=dict(arch='base'))
