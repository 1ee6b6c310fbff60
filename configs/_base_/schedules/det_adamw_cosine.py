"""AdamW with layer-wise decay, a short warm-up, then half a cosine to zero (CMAE, section 4.3).

The config states the length (`max_epochs`). The rate is stated, not scaled with the batch, as in the papers. 0.136
epochs of COCO are ViTDet's 250 steps.
"""

total_batch_size = 64
max_batch_per_device = 4
warmup_epochs = 0.136

optim_wrapper = dict(
    type='mmmim.AutocastOptimWrapper',
    constructor='mmmim.LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1, fused=True),
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
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
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(type='mmmim.HostEpochLoop', val_interval=5)
