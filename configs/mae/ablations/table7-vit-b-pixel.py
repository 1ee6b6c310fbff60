"""MAE with ViT-B/16, target: pixels, not normalised (Table 7).

    tools/dist_train.sh configs/mae/ablations/table7-vit-b-pixel.py 8

The slides do not state the length: 1600 epochs, as the row of normalised pixels agrees with (`../vit-b_1600e.py`).

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 7: 83.3%
fine-tuning; Mask R-CNN on COCO 49.5 box AP, UperNet on ADE20K 48.0 mIoU. Not reproduced by this code yet.
"""

_base_ = '../vit-b_1600e.py'
model = dict(target=dict(norm_pix=False))
