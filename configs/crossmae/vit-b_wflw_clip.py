"""CrossMAE with ViT-B/16 and CLIP features on the training faces of WFLW, without their points.

    tools/dist_train.sh configs/crossmae/vit-b_wflw_clip.py 8 --cfg-options data_root=PATH/TO/WFLW

The target needs CLIP's ViT-B/16. Where timm's hub has not left it on this machine, the error says how to get it; a file
of your own is `model.target.weights=PATH`.

CrossMAE, section 4.2: "pre-train the backbone on WFLW instead of ImageNet ... on the training split and use no extra
data or label". The boxes of the faces are used here, to crop them. How long is not stated: 300 epochs, the length on
ImageNet, are 4,200 steps of 512 of the 7,500 faces; `max_epochs` is another (as many steps as on ImageNet: 53,614).

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 4.21% NME on WFLW (Table 5), with
`configs/downstream/landmarks/vit-b_wflw_upernet_crossmae`. Not run; not reproduced by this code yet.
"""

_base_ = [
    '../_base_/models/crossmae_vit.py',
    '../_base_/datasets/wflw_crops.py',
    '../_base_/schedules/mae_adamw.py',
    '../_base_/default_runtime.py',
]
total_batch_size = 512
max_epochs = 300
warmup_epochs = 20
