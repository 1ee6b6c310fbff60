"""The supervised baseline of MAE: ViT-B/16 from scratch, 300 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-b_scratch_300e.py 8

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

Settings: MAE, Table 11: weight decay 0.3, no layer decay, an average of the weights with decay 0.9999, which is what
is validated. Random erasing 0.25 as in fine-tuning; the table does not name it.

Published: 82.3% (MAE, Table 3, "scratch, our impl."). Not reproduced by this code yet.
"""

_base_ = './vit-b_finetune_100e.py'
model = dict(backbone=dict(init_cfg=None))
total_batch_size = 4096
max_batch_per_device = 256
base_lr = 1e-4
max_epochs = 300
warmup_epochs = 20
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.95), weight_decay=0.3), paramwise_cfg=dict(layer_decay_rate=1.0))
ema_decay = 0.9999
