r"""Fine-tuning of ViT-L/16 with CMAE's settings, 50 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-l_finetune_50e_cmae.py 8 \
        --cfg-options pretrained=CHECKPOINT

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

CMAE states the rate alone (5e-4 after 300 epochs of pre-training, `base_lr=5e-4`; 2.5e-4 after 1600), and for ViT-B;
length, layer decay and drop path are MAE's for this size ("common fine-tuning practices").

Published: a point of Figure 5b, which has no number. Not reproduced by this code yet.
"""

_base_ = './vit-l_finetune_50e.py'
base_lr = 2.5e-4
