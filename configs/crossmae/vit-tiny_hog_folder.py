r"""CrossMAE with HOG at 96 px on any folder of images, for two CPU cores.

    python tools/train.py configs/crossmae/vit-tiny_hog_folder.py --cfg-options data_root=PATH/TO/PHOTOS

All images under the folder are read, at any depth. `tools/test.py` measures the loss of the drawing head on the same
folder, unless `test_dataloader.dataset.data_root` names another. It adds k-NN accuracy where PATH/TO/PHOTOS has
`train/<class>/*` and `val/<class>/*`; then train on the first only:

    python tools/train.py configs/crossmae/vit-tiny_hog_folder.py --cfg-options data_root=PATH/TO/PHOTOS \
        train_dataloader.dataset.data_root=PATH/TO/PHOTOS/train test_dataloader.dataset.data_root=PATH/TO/PHOTOS/val

Nothing else is needed: no weights are fetched. The encoder, batch and learning rate are those of
`../mae/vit-tiny_folder.py`; it sees all 144 patches where MAE's sees 36, so that a step takes longer.

Published: nothing; the sizes and the schedule are this project's choice.
"""

_base_ = './vit-tiny_pixel_folder.py'
model = dict(target=dict(type='HOGTarget'))
