r"""CMAE at 96 px on any folder of images, for two CPU cores.

    python tools/train.py configs/cmae/vit-tiny_folder.py --cfg-options data_root=PATH/TO/PHOTOS

All images under the folder are read, at any depth. `tools/test.py` measures the reconstruction loss on the same folder,
unless `test_dataloader.dataset.data_root` names another. It adds k-NN accuracy where PATH/TO/PHOTOS has
`train/<class>/*` and `val/<class>/*`; then train on the first only:

    python tools/train.py configs/cmae/vit-tiny_folder.py --cfg-options data_root=PATH/TO/PHOTOS \
        train_dataloader.dataset.data_root=PATH/TO/PHOTOS/train test_dataloader.dataset.data_root=PATH/TO/PHOTOS/val

Folders with other names are `feature_eval.bank.data_root` (neighbours) and `feature_eval.query.data_root` (what is
classified). The model is that of `../mae/vit-tiny_folder.py` with a target branch; batch, learning rate and epochs are
the same, so that an image has 63 negatives. A step takes about two and a half times as long as MAE's.

Published: nothing; the sizes and the schedule are this project's choice.
"""

_base_ = [
    '../_base_/models/cmae_vit.py',
    '../_base_/datasets/folder_two_views.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=96, patch_size=8),
    neck=dict(embed_dim=128, depth=2, num_heads=4),
    feature_decoder=dict(embed_dim=128, depth=1, num_heads=4),
    projector=dict(hidden_dim=384, out_dim=128),
    predictor=dict(hidden_dim=384, out_dim=128),
)
total_batch_size = 64
max_epochs = 20
warmup_epochs = 2
base_lr = 2e-3
default_hooks = dict(checkpoint=dict(interval=5))
