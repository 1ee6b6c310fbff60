"""CrossMAE ablation, target: VGG features, 100 epochs (Table 9).

    tools/dist_train.sh configs/crossmae/ablations/target-vgg_100e.py 8

The paper does not name the layer: the one by which Johnson et al. compare content. Where torchvision's weights of
VGG-16 are not on this machine, the error says how to get them.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 82.9% fine-tuning, 46.3 mIoU on ADE20K, 49.1 box AP on COCO. Not reproduced by this
code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(target=dict(_delete_=True, type='VGGTarget', layer='relu3_3'))
max_epochs = 100
