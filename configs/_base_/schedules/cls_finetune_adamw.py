"""MAE's fine-tuning (its Table 9): AdamW with layer-wise decay, warm-up, half a cosine to lr * 5e-4.

lr = base_lr * total_batch_size / 256. The authors' code ends at 1e-6, which is 5e-4 of their ViT-B's rate; a share of
the rate, not a value, is what leaves the layers their proportions. The config states the length (`max_epochs`).
"""

total_batch_size = 1024
max_batch_per_device = 128
base_lr = 5e-4
warmup_epochs = 5

optim_wrapper = dict(
    type='mmmim.AutocastOptimWrapper',
    constructor='mmmim.LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.reg_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
        },
    ),
)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=5e-4, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(type='mmmim.ResumableEpochLoop', val_interval=1)
