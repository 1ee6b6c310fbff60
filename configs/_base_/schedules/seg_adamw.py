"""BEiT's fine-tuning on ADE20K: AdamW with layer-wise decay, 1500 steps of warm-up, then linearly to zero.

The config states the length (`max_iters`). The rate is stated, not scaled with the batch, as in the papers.
"""

total_batch_size = 16
max_batch_per_device = 16  # batch statistics do not cross batches that are accumulated
warmup_iters = 1500

optim_wrapper = dict(
    type='mmmim.AutocastOptimWrapper',
    constructor='mmmim.LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.reg_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
            'rel_pos': dict(decay_mult=0.0),
        },
    ),
)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', val_interval=16000)
