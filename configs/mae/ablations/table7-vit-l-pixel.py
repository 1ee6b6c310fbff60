"""MAE with ViT-L/16, target: pixels, not normalised (Table 7).

    tools/dist_train.sh configs/mae/ablations/table7-vit-l-pixel.py 8

The slides do not state the length: 1600 epochs, as the row of normalised pixels agrees with (`../vit-l_1600e.py`).

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 7: 85.1%
fine-tuning; Mask R-CNN on COCO 52.8 box AP, UperNet on ADE20K 51.8 mIoU. Not reproduced by this code yet.
"""

_base_ = '../vit-l_1600e.py'
model = dict(target=dict(norm_pix=False))
