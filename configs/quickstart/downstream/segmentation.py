r"""UperNet on the drawn scenes for some minutes on two CPU cores; `bash tools/quickstart.sh` runs it.

    python tools/datasets/make_scenes.py data/scenes
    python tools/train.py configs/quickstart/downstream/segmentation.py \
        --cfg-options pretrained=work_dirs/quickstart/encoder.safetensors

It is trained a second time from a random initialisation (pretrained=None), to compare with. Short as it is, it is no
published result.
"""

_base_ = '../../downstream/segmentation/vit-tiny_scenes_upernet.py'
max_iters = 300
warmup_iters = 30
train_cfg = dict(val_interval=75)
val_dataloader = dict(batch_size=20)  # the scenes have one size
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=15), checkpoint=dict(interval=75, interval_minutes=1))
