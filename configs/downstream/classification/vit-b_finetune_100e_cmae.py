r"""Fine-tuning of ViT-B/16 with CMAE's settings, 100 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-b_finetune_100e_cmae.py 8 \
        --cfg-options pretrained=CHECKPOINT

and for a checkpoint of 300 epochs

    tools/dist_train.sh configs/downstream/classification/vit-b_finetune_100e_cmae.py 8 \
        --cfg-options pretrained=CHECKPOINT base_lr=5e-4

For 8 GPUs with 80 GB; on smaller ones lower `max_batch_per_device`: more batches are accumulated.

CMAE, section 4.2: base rate 5e-4 after 300 epochs of pre-training, 2.5e-4 after 1600. What it is after 800 is not
stated; the default here is 2.5e-4 for it too, as the reason that the paper gives, better initial weights after longer
pre-training, points there. Everything else is MAE's ("common fine-tuning practices").

Published: 84.7% after 1600 epochs of CMAE (Table 2). Not reproduced by this code yet.
"""

_base_ = './vit-b_finetune_100e.py'
base_lr = 2.5e-4
