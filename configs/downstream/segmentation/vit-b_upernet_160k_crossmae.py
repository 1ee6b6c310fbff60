r"""UperNet on ViT-B/16 with CrossMAE's settings, ADE20K, 160K iterations.

    tools/dist_train.sh configs/downstream/segmentation/vit-b_upernet_160k_crossmae.py 8 \
        --cfg-options data_root=PATH/TO/ADEChallengeData2016 pretrained=CHECKPOINT

For 8 GPUs with 32 GB, 2 images each.

CrossMAE, section 4.2: the "practice and configurations in BEiT of ViT-B/16, with 160k fine-tuning iterations on
512x512 images", single scale. The rate of 7e-4 and the layer decay of 0.65 are those of BEiT's code for checkpoints
that have seen no labels.

Published: 50.4% mIoU after 300 epochs of CrossMAE (Table 3). Not reproduced by this code yet.
"""

_base_ = './vit-b_upernet_160k.py'
optim_wrapper = dict(optimizer=dict(lr=7e-4))
