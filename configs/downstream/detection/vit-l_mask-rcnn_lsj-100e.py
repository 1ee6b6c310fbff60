r"""Mask R-CNN on ViT-L/16 as for MAE, COCO, 100 epochs of large-scale jitter at 1024 px.

    tools/dist_train.sh configs/downstream/detection/vit-l_mask-rcnn_lsj-100e.py 8 \
        --cfg-options data_root=PATH/TO/coco pretrained=CHECKPOINT

For 16 GPUs with 80 GB, 4 images each (8 on each of two nodes). Fewer GPUs accumulate batches of 4; smaller ones take
fewer, too: `max_batch_per_device=1`.

The slides' numbers are those of Li et al. (2021), who fuse four maps in an FPN. Here is what replaced it (ViTDet, Li et
al., 2022): the pyramid from the last map, windows of 14 patches but in four blocks, layer norm in the heads, layer
decay 0.8, stochastic depth 0.4. The rate of 1e-4 with half a cosine and the weight decay of 0.1 are those that CMAE
states (section 4.3).

Published: 53.3% box AP, 47.2% mask AP after 1600 epochs of MAE (slides, Table 4). Not reproduced by this code yet.
"""

_base_ = './vit-b_mask-rcnn_lsj-100e.py'
model = dict(backbone=dict(arch='large', out_indices=(23,), drop_path_rate=0.4))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
