"""MAE's optimizer: AdamW, 40 epochs of warm-up, half a cosine, lr = base_lr * total_batch_size / 256.

The config states the length (`max_epochs`). Batches, rate and lengths of the parts follow from the keys at the top.
"""

total_batch_size = 4096
max_batch_per_device = 256
base_lr = 1.5e-4
warmup_epochs = 40

optim_wrapper = dict(
    type='AutocastOptimWrapper',
    constructor='GroupedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(type='ResumableEpochLoop')
