r"""Mask R-CNN on the drawn scenes for some minutes on two CPU cores; `bash tools/quickstart.sh --detection` runs it.

    bash tools/setup_env.sh detection
    python tools/datasets/make_scenes.py data/scenes
    python tools/train.py configs/quickstart/downstream/detection.py \
        --cfg-options pretrained=work_dirs/quickstart/encoder.safetensors

It is trained a second time from a random initialisation (pretrained=None), to compare with. Short as it is, it is no
published result.
"""

_base_ = '../../downstream/detection/vit-tiny_scenes_mask-rcnn.py'
max_epochs = 2
warmup_epochs = 0.2
train_cfg = dict(val_interval=2)
default_hooks = dict(logger=dict(interval=15), checkpoint=dict(interval_minutes=1))
