"""MAE with ViT-L/16, target: tokens of DALL-E's discrete VAE (Table 7).

    tools/dist_train.sh configs/mae/ablations/table7-vit-l-dvae.py 8

Needs mmpretrain and the weights of its DALL-E encoder (`model.target.weights`).

The slides do not state the length: 1600 epochs, as the row of normalised pixels agrees with (`../vit-l_1600e.py`).

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published, quoted from the slides' Table 7: 85.7%
fine-tuning; Mask R-CNN on COCO 53.2 box AP, UperNet on ADE20K 53.4 mIoU. Not reproduced by this code yet.
"""

_base_ = '../vit-l_1600e.py'
model = dict(
    target=dict(_delete_=True, type='DALLETarget', weights='data/dalle_encoder.pth'), head=dict(type='TokenHead')
)
