r"""Vision ELECTRA at 96 px on any folder of images, for two CPU cores.

    python tools/train.py configs/vision_electra/vit-tiny_folder.py --cfg-options data_root=PATH/TO/PHOTOS

All images under the folder are read, at any depth. `tools/test.py` measures the reconstruction loss on the same folder,
unless `test_dataloader.dataset.data_root` names another. It adds k-NN accuracy where PATH/TO/PHOTOS has
`train/<class>/*` and `val/<class>/*`; then train on the first only:

    python tools/train.py configs/vision_electra/vit-tiny_folder.py --cfg-options data_root=PATH/TO/PHOTOS \
        train_dataloader.dataset.data_root=PATH/TO/PHOTOS/train test_dataloader.dataset.data_root=PATH/TO/PHOTOS/val

From scratch. To go on from an MAE (`../mae/vit-tiny_folder.py`, whose networks these are, with
`model.target.norm_pix=False`) add `load_from=CHECKPOINT`.

Published: nothing; the sizes and the schedule are this project's choice.
"""

_base_ = [
    '../_base_/models/vision_electra_vit.py',
    '../_base_/datasets/folder.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
model = dict(
    generator=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=96, patch_size=8),
    neck=dict(embed_dim=128, depth=2, num_heads=4),
    backbone=dict(arch=dict(_delete_=True, embed_dim=192, depth=6, num_heads=3), img_size=96, patch_size=8),
)
total_batch_size = 64
max_epochs = 20
warmup_epochs = 2
base_lr = 2e-3
lr_base_batch = 256
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)))
default_hooks = dict(checkpoint=dict(interval=5), discriminator=dict(type='DiscriminatorHook'))
