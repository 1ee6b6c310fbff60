r"""Fine-tuning of ViT-B/16 with Vision ELECTRA's settings, 100 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-b_finetune_100e_vision-electra.py 4 \
        --cfg-options pretrained=CHECKPOINT

For 4 GPUs with 32 GB. Settings: the supplement's section on classification. It says "a batch size set at 160" on 4
GPUs, not whether that is one GPU's or all of theirs: here one GPU's, as it says of pre-training "80 for each GPU".
The other reading is `total_batch_size=160`. Nor does it say what the base rate of 1.25e-3 is for. That rate, 20 epochs
of warm-up, the layer decay of 0.9 and the stochastic depth of 0.1 are what SimMIM's code has for its Swin-B, where a
rate is for 512 images and gradients are clipped at a norm of 5: here, too, 1.5625e-3 for 640 images. For 256 images, as
in MAE: `lr_base_batch=256`. Of its ViT-B SimMIM decays layers by 0.65. The augmentation is BEiT's.

Published: no number; the supplement states no accuracy for this model. Not reproduced by this code yet.
"""

_base_ = './vit-b_finetune_100e.py'
total_batch_size = 640
max_batch_per_device = 160
base_lr = 1.25e-3
lr_base_batch = 512
warmup_epochs = 20
optim_wrapper = dict(clip_grad=dict(max_norm=5.0), paramwise_cfg=dict(layer_decay_rate=0.9))
