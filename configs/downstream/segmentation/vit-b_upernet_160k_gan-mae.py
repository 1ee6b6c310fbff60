r"""UperNet on ViT-B/16 with GAN-MAE's settings, ADE20K, 160K iterations of 64 images.

    tools/dist_train.sh configs/downstream/segmentation/vit-b_upernet_160k_gan-mae.py 8 \
        --cfg-options data_root=PATH/TO/ADEChallengeData2016 pretrained=CHECKPOINT

For 8 GPUs with 40 GB, 8 images each.

GAN-MAE, section 4.4: "160K iterations with batch size set as 64", single scale. It states no rate: MAE's 1e-4 here;
scaled linearly with the batch it would be `optim_wrapper.optimizer.lr=4e-4`.

Published: 49.5% mIoU after 800 epochs of GAN-MAE (Table 7). Not reproduced by this code yet.
"""

_base_ = './vit-b_upernet_160k.py'
total_batch_size = 64
