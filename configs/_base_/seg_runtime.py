"""What all segmentation configs share: mmseg's scope, loops and samplers, our hooks, and keys that are carried further.

`pretrained`, `num_classes`, `classes`, `crop_size`, `scale`, `max_iters`, `warmup_iters` and `tta` go to where they
belong when a run starts (mmmim/config/segmentation.py); on the command line: `--cfg-options pretrained=PATH tta=True`.
"""

default_scope = 'mmseg'
custom_imports = dict(imports=['mmmim'], allow_failed_imports=False)

pretrained = None  # a checkpoint of any naming scheme; None: from scratch
num_classes = None  # None: the model's
classes = None  # names; None: numbers
tta = False  # test at several scales, mirrored too
tta_ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)

default_hooks = dict(
    runtime_info=dict(type='mmmim.DeferredRuntimeInfoHook'),
    step_seed=dict(type='mmmim.StepSeedHook'),
    run_state=dict(type='mmmim.RunStateHook'),
    load_from=dict(type='mmmim.LoadFromHook'),
    check_masks=dict(type='mmmim.CheckMasksHook', max_masks=500),
    check_pixels=dict(type='mmmim.CheckPixelsHook'),
    timer=dict(type='IterTimerHook'),
    progress=dict(type='mmmim.ProgressHook'),
    run_record=dict(type='mmmim.RunRecordHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    missed_validation=dict(type='mmmim.MissedValidationHook'),
    checkpoint=dict(
        type='mmmim.AtomicCheckpointHook', by_epoch=False, interval=16000, interval_minutes=30, max_keep_ckpts=2
    ),
)

model_wrapper_cfg = dict(type='mmmim.MIMDistributedDataParallel')
env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)

visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(by_epoch=False, window_size=50)
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False
