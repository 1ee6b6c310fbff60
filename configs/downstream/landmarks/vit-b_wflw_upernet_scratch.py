r"""UperNet on ViT-B/16 for WFLW's 98 landmarks, from random initialisation.

    tools/dist_train.sh configs/downstream/landmarks/vit-b_wflw_upernet_scratch.py 8 \
        --cfg-options data_root=PATH/TO/WFLW

For 8 GPUs with 32 GB, 5 images each. Settings: see vit-b_wflw_upernet_crossmae.py.

Published, quoted by CrossMAE (Table 5, "Scratch") from FaRL: 4.8% NME, where FR is 5.72% and AUC 54.5%. Not run; not
reproduced by this code yet.
"""

_base_ = [
    '../../_base_/models/landmarks_upernet_vit.py',
    '../../_base_/datasets/wflw.py',
    '../../_base_/schedules/landmarks_adamw.py',
    '../../_base_/landmarks_runtime.py',
]
max_epochs = 150
ema_decay = 0.999
