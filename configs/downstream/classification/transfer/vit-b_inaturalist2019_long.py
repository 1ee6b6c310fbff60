r"""ViT-B/16 fine-tuned on iNaturalist 2019 for 360 epochs at a low rate, as DeiT.

    tools/dist_train.sh configs/downstream/classification/transfer/vit-b_inaturalist2019_long.py 8 \
        --cfg-options data_root=PATH/TO/inaturalist2019 pretrained=PATH/TO/CHECKPOINT.pth

CrossMAE's Table 6 follows SplitMask, which transfers as DeiT does. DeiT's authors (facebookresearch/deit, issues 105
and 141): 768 images a batch, a rate of 7.5e-5 after scaling, 360 epochs with 5 of warm-up, weight decay 0.05, mixup
0.8, 0.8, cutmix 1.0, smoothing 0.1, stochastic depth 0.1, random erasing 0.1, no layer decay; and repeated
augmentation, which is left out here.

For 8 GPUs with 80 GB. Published: CrossMAE pre-trained on 1% and 10% of ImageNet's images, 77.6% and 78.1% (Table 6;
configs/crossmae/few_images). Not reproduced by this code yet.
"""

_base_ = './vit-b_inaturalist2019.py'
total_batch_size = 768
max_batch_per_device = 96
base_lr = 2.5e-5
max_epochs = 360
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mmmim.LoadImage'),
            dict(type='mmmim.RandomResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bicubic'),
            dict(type='mmmim.RandomFlip', prob=0.5),
            dict(
                type='mmmim.AsBGR',
                transforms=[
                    dict(
                        type='RandAugment',
                        policies='timm_increasing',
                        num_policies=2,
                        total_level=10,
                        magnitude_level=9,
                        magnitude_std=0.5,
                        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
                    )
                ],
            ),
            dict(
                type='RandomErasing',
                erase_prob=0.1,
                mode='rand',
                min_area_ratio=0.02,
                max_area_ratio=1 / 3,
                fill_color=[123.675, 116.28, 103.53],
                fill_std=[58.395, 57.12, 57.375],
            ),
            dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'replaced', 'seed')),
        ]
    )
)
