"""MAE's linear probing (its Table 10): LARS, no weight decay, lr = base_lr * total_batch_size / 256.

The config states the length (`max_epochs`).
"""

total_batch_size = 16384
max_batch_per_device = 2048
base_lr = 0.1
warmup_epochs = 10

optim_wrapper = dict(
    type='mmmim.AutocastOptimWrapper', optimizer=dict(type='mmmim.LARS', momentum=0.9, weight_decay=0.0)
)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(type='mmmim.ResumableEpochLoop', val_interval=1)
