"""FaRL's fine-tuning on WFLW: AdamW at a constant rate, a hundredth of it for the encoder, no warm-up.

Its first fall of the rate, after epoch 200, lies behind the end. The rate is stated, not scaled with the batch. The
config states the length (`max_epochs`); `warmup_epochs` adds a warm-up.
"""

total_batch_size = 40
max_batch_per_device = 40  # batch statistics do not cross batches that are accumulated
warmup_epochs = 0

optim_wrapper = dict(
    type='mmmim.AutocastOptimWrapper',
    constructor='mmmim.GroupedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-2, betas=(0.9, 0.999), weight_decay=1e-5, fused=True),
    paramwise_cfg=dict(custom_keys={'backbone.': dict(lr_mult=0.01)}),
)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, convert_to_iter_based=True),
    dict(type='ConstantLR', factor=1.0, by_epoch=True),
]
train_cfg = dict(type='mmmim.ResumableEpochLoop', val_interval=1)
