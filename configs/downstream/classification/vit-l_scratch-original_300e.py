r"""ViT-L/16 from scratch by ViT's own recipe, 300 epochs: "scratch, original" of MAE's slides.

    tools/dist_train.sh configs/downstream/classification/vit-l_scratch-original_300e.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

The slides cite Dosovitskiy et al., 2021, "An Image is Worth 16x16 Words", whose Table 3 has for ImageNet: Adam (0.9,
0.999) with decoupled weight decay 0.3, 4096 images a batch, a rate of 3e-3 with 10,000 steps of warm-up (32 epochs) and
a cosine, dropout 0.1, gradients clipped at 1, learned positions, and the class token; crops and flips alone. As
elsewhere here, biases, norms and tokens are not decayed, and crops have 0.08 to 1 of the area. Their number is measured
after a fine-tuning at 384 px, which is not part of this.

Published: 76.5% (slides). Not reproduced by this code yet.
"""

_base_ = './vit-l_scratch_200e.py'
model = dict(
    backbone=dict(drop_rate=0.1, drop_path_rate=0.0, final_norm=True, learned_positions=True),
    neck=dict(pool='cls', norm=None),
    head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss')),
    train_cfg=dict(augments=None),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mmmim.LoadImage'),
            dict(type='mmmim.RandomResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bicubic'),
            dict(type='mmmim.RandomFlip', prob=0.5),
            dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'replaced', 'seed')),
        ]
    )
)
base_lr = 1.875e-4
max_epochs = 300
warmup_epochs = 32
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)), clip_grad=dict(max_norm=1.0))
ema_decay = None
