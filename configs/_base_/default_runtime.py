"""What all pre-training configs share: scope, hooks, checkpoints, logs, processes."""

default_scope = 'mmmim'
custom_imports = dict(imports=['mmmim'], allow_failed_imports=False)

default_hooks = dict(
    runtime_info=dict(type='DeferredRuntimeInfoHook'),
    step_seed=dict(type='StepSeedHook'),
    run_state=dict(type='RunStateHook'),
    load_from=dict(type='LoadFromHook'),
    fit_target=dict(type='FitTargetHook'),
    check_pixels=dict(type='CheckPixelsHook'),
    timer=dict(type='IterTimerHook'),
    progress=dict(type='ProgressHook'),
    run_record=dict(type='RunRecordHook'),
    sampler_seed=None,  # the loop tells the sampler its epoch, and where in it to start
    bad_images=dict(type='BadImagesHook', max_share=0.01),
    logger=dict(type='LoggerHook', interval=50, ignore_last=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='AtomicCheckpointHook', interval=20, interval_minutes=30, max_keep_ckpts=2),
    export_encoder=dict(type='ExportEncoderHook'),
)

model_wrapper_cfg = dict(type='mmmim.MIMDistributedDataParallel')
env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)

visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(window_size=50)
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False
