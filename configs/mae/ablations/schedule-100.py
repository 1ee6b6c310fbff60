"""MAE ablation, training schedule of 100 epochs (Figure 7).

    tools/dist_train.sh configs/mae/ablations/schedule-100.py 8

Each point of the figure is a full schedule of ViT-L with the default of Table 1, whose 800 epochs are `_default.py`.

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`. Published: a point of the slides'
Figure 7, which has no number. Not reproduced by this code yet.
"""

_base_ = './_default.py'
max_epochs = 100
