"""CrossMAE ablation, target: CLIP and HOG, 100 epochs (Table 9).

    tools/dist_train.sh configs/crossmae/ablations/target-clip-hog_100e.py 8

"Two separate predictors"; the two losses are added.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 83.3% fine-tuning, 50.4 mIoU on ADE20K, 49.1 box AP on COCO. Not reproduced by this
code yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(
    predictor=[dict(type='LinearPredictor'), dict(type='LinearPredictor')],
    target=dict(_delete_=True, type='CombinedTarget', targets=[dict(type='CLIPTarget'), dict(type='HOGTarget')]),
)
max_epochs = 100
