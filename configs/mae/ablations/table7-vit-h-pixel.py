"""MAE with ViT-H/14, target: pixels, not normalised (Table 7).

    tools/dist_train.sh configs/mae/ablations/table7-vit-h-pixel.py 8

The slides do not state the length: 1600 epochs, as the row of normalised pixels agrees with (`../vit-h_1600e.py`).

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 7: 86.2%
fine-tuning. Not reproduced by this code yet.
"""

_base_ = '../vit-h_1600e.py'
model = dict(target=dict(norm_pix=False))
