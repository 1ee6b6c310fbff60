"""CrossMAE with ViT-S/16 and CLIP features on ImageNet-1K, 300 epochs.

    tools/dist_train.sh configs/crossmae/vit-s_300e.py 8

The target needs CLIP's ViT-B/16. Where timm's hub has not left it on this machine, the error says how to get it; a file
of your own is `model.target.weights=PATH`.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 82.5% fine-tuning, 72.9% linear (Table 1); with noise in Table 10, which names neither
target nor length: 64.1% after fine-tuning on 1% of the labels, 76.5% on 10%. Not reproduced by this code yet.
"""

_base_ = './vit-b_300e.py'
model = dict(backbone=dict(arch='small'))
