r"""UperNet on ViT-B/16 with Vision ELECTRA's settings, ADE20K, 16K iterations.

    tools/dist_train.sh configs/downstream/segmentation/vit-b_upernet_16k_vision-electra.py 4 \
        --cfg-options data_root=PATH/TO/ADEChallengeData2016 pretrained=CHECKPOINT

For 4 GPUs with 32 GB, 2 images each.

The supplement's section on segmentation says 16K iterations, "a batch size fixed at 2", a rate of 1e-4, on 4 GPUs,
based on a reproduction of MAE's segmentation (Li, 2022) that runs 160K with 2 images on each GPU. Two readings:
`max_iters=160000` if 16K is a slip; `total_batch_size=2` if 2 is all GPUs' batch (here one GPU's, as in that code).
Layer decay and stochastic depth are that code's.

Published: the supplement states no mIoU. Not reproduced by this code yet.
"""

_base_ = './vit-b_upernet_160k.py'
total_batch_size = 8
max_iters = 16000
