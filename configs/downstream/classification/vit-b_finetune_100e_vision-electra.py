r"""Fine-tuning of ViT-B/16 with Vision ELECTRA's settings, 100 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-b_finetune_100e_vision-electra.py 4 \
        --cfg-options pretrained=CHECKPOINT

For 4 GPUs with 32 GB. Settings: the supplement's section on classification. It says "a batch size set at 160" on 4
GPUs, not whether that is one GPU's or all of theirs: here one GPU's, as it says of pre-training "80 for each GPU".
The other reading is `total_batch_size=160`. Nor does it say how the base rate of 1.25e-3 scales: here with the batch
over 256, as everywhere in this project; over 512, as in the code of SimMIM, is `base_lr=6.25e-4`. The augmentation is
BEiT's. The supplement states no accuracy for this model. Not reproduced by this code yet.
"""

_base_ = './vit-b_finetune_100e.py'
total_batch_size = 640
max_batch_per_device = 160
base_lr = 1.25e-3
warmup_epochs = 20
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9))
