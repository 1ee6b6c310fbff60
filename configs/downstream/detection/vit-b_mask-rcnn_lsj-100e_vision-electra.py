r"""Mask R-CNN on ViT-B/16 with Vision ELECTRA's settings, COCO, 100 epochs of large-scale jitter at 768 px.

    tools/dist_train.sh configs/downstream/detection/vit-b_mask-rcnn_lsj-100e_vision-electra.py 4 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 4 GPUs with 32 GB, which accumulate four batches of 4 images each.

The supplement's section on detection: 100 epochs, a batch of 64, a rate of 8e-5, a weight decay of 0.1, betas 0.9 and
0.999, images of 768 x 768, an FPN. It builds on MIMDet, whose own decoder and convolutional stem no checkpoint of
Vision ELECTRA has: here four maps go into the FPN, as in the comparison (after Li et al., 2021) that MIMDet makes.
Schedule (half a cosine), layer decay and stochastic depth are not stated: those of the other 100-epoch configs.

Published: the supplement states no AP. Not reproduced by this code yet.
"""

_base_ = './vit-b_mask-rcnn_lsj-100e_gan-mae.py'
image_size = 768
optim_wrapper = dict(optimizer=dict(lr=8e-5))
