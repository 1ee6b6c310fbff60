"""What all detection configs share: mmdet's scope, loops and samplers, our hooks, and keys that are carried further.

`pretrained`, `num_classes`, `classes`, `image_size`, `scale` and `milestones` go to where they belong when a run starts
(mmmim/config/detection.py), and so do the files of annotations and the folders of images; on the command line:
`--cfg-options pretrained=PATH`.
"""

default_scope = 'mmdet'
custom_imports = dict(imports=['mmmim'], allow_failed_imports=False)

pretrained = None  # a checkpoint of any naming scheme; None: from scratch
classes = None  # names; None: all that the annotations have

default_hooks = dict(
    runtime_info=dict(type='mmmim.DeferredRuntimeInfoHook'),
    step_seed=dict(type='mmmim.StepSeedHook'),
    run_state=dict(type='mmmim.RunStateHook'),
    load_from=dict(type='mmmim.LoadFromHook'),
    check_annotations=dict(type='mmmim.CheckAnnotationsHook', max_images=500),
    check_pixels=dict(type='mmmim.CheckPixelsHook'),
    timer=dict(type='IterTimerHook'),
    progress=dict(type='mmmim.ProgressHook'),
    run_record=dict(type='mmmim.RunRecordHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    missed_validation=dict(type='mmmim.MissedValidationHook'),
    checkpoint=dict(type='mmmim.AtomicCheckpointHook', interval=1, interval_minutes=30, max_keep_ckpts=2),
)

model_wrapper_cfg = dict(type='mmmim.MIMDistributedDataParallel')
env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)

visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(by_epoch=True, window_size=50)
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False
