"""CrossMAE with HOG at 32 px on CIFAR-10, for two CPU cores.

    python tools/train.py configs/crossmae/vit-tiny_hog_cifar10.py --cfg-options data_root=PATH/TO/cifar10

PATH/TO/cifar10 holds `train/<class>/*` and `val/<class>/*`, or an archive of these. Nothing else is needed: no weights
are fetched. The encoder, batch and learning rate are those of `../mae/vit-tiny_cifar10.py`; it sees all 64 patches
where MAE's sees 16, so that a step takes longer.

Published: nothing; the sizes and the schedule are this project's choice.
"""

_base_ = './vit-tiny_pixel_cifar10.py'
model = dict(target=dict(type='HOGTarget', cell_size=4))
