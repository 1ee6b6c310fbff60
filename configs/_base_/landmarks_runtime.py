"""What all configs for facial landmarks share: mmseg's scope (its head), our loop and hooks, and keys carried further.

`pretrained`, `image_size` and `ema_decay` go to where they belong when a run starts (mmmim/config/landmarks.py); on the
command line: `--cfg-options pretrained=PATH image_size=256`.
"""

default_scope = 'mmseg'
custom_imports = dict(imports=['mmmim'], allow_failed_imports=False)

pretrained = None  # a checkpoint of any naming scheme; None: from scratch
ema_decay = None  # average of the weights; None: none

default_hooks = dict(
    runtime_info=dict(type='mmmim.DeferredRuntimeInfoHook'),
    step_seed=dict(type='mmmim.StepSeedHook'),
    run_state=dict(type='mmmim.RunStateHook'),
    load_from=dict(type='mmmim.LoadFromHook'),
    check_pixels=dict(type='mmmim.CheckPixelsHook'),
    timer=dict(type='IterTimerHook'),
    progress=dict(type='mmmim.ProgressHook'),
    run_record=dict(type='mmmim.RunRecordHook'),
    sampler_seed=None,  # the loop tells the sampler its epoch, and where in it to start
    bad_images=dict(type='mmmim.BadImagesHook', max_share=0.01),
    logger=dict(type='LoggerHook', interval=50, ignore_last=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    missed_validation=dict(type='mmmim.MissedValidationHook'),
    checkpoint=dict(type='mmmim.AtomicCheckpointHook', interval=10, interval_minutes=30, max_keep_ckpts=2),
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
