r"""MoCo v3 with ViT-B/16 on ImageNet-1K, 300 epochs, by mmpretrain's config, model and pipeline.

    tools/dist_train.sh configs/mocov3/vit-b_300e.py 8 [--cfg-options data_root=PATH/TO/imagenet]

mmpretrain is asked for 16 GPUs with 256 images each. On 8 two batches of 256 are accumulated, and each image's
negatives are those of a batch of all GPUs, 2047; and its momentum encoder moves with each batch, twice a step:
`model.base_momentum=0.005` leaves it the step's, or `max_batch_per_device=512` where memory allows it. What is this
project's: batch and rate follow from the keys below, bf16 without a gradient scaler, checkpoints that are written
whole, a stopped run goes on in mid-epoch.

Checkpoints, these and the authors' or mmpretrain's own, go into every downstream config by `pretrained=`:
configs/downstream/classification/vit-b_finetune_100e.py, ../downstream/segmentation, ../downstream/detection.

Published: 83.2% after fine-tuning (quoted in CMAE, Table 2, and GAN-MAE, Table 5), 47.3 mIoU on ADE20K and 47.9 box AP,
42.7 mask AP on COCO (slides on MAE, Tables 4 and 5). Not reproduced by this code; the tests train a narrow encoder for
a few steps.
"""

_base_ = 'mmpretrain::mocov3/mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k.py'
custom_imports = dict(imports=['mmmim'], allow_failed_imports=False)
total_batch_size = 4096
max_batch_per_device = 256
base_lr = 1.5e-4
max_epochs = 300
warmup_epochs = 40
optim_wrapper = dict(
    _delete_=True, type='mmmim.AutocastOptimWrapper', optimizer=dict(type='AdamW', weight_decay=0.1, fused=True)
)
train_cfg = dict(type='mmmim.HostEpochLoop')
default_hooks = dict(
    checkpoint=dict(type='mmmim.AtomicCheckpointHook', interval=20, interval_minutes=30, max_keep_ckpts=2)
)
randomness = dict(seed=0)
