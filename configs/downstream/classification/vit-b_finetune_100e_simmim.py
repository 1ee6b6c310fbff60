r"""Fine-tuning of a ViT-B/16 with relative positions, SimMIM's or BEiT's, with SimMIM's settings, 100 epochs.

    tools/dist_train.sh configs/downstream/classification/vit-b_finetune_100e_simmim.py 8 \
        --cfg-options pretrained=CHECKPOINT

CHECKPOINT is a file of SimMIM's ViT or of BEiT as their authors give it out, pre-trained or fine-tuned; the table of
relative positions that all blocks share in pre-training is copied to each of them. For 8 GPUs with 80 GB; on smaller
ones lower `max_batch_per_device`: more batches are accumulated.

Settings: the authors' simmim_finetune__vit_base__img224__800ep.yaml with the defaults of their code: base rate 1.25e-3
for a batch of 512, which is 6.25e-4 for 256, on 16 GPUs with 128 images each; gradients are clipped at a norm of 5.
Images are normalised with ImageNet's statistics, as SimMIM's; for BEiT's own files set `model.data_preprocessor.mean`
and `.std` to 127.5 three times.

Published: 83.8% after 800 epochs of SimMIM (the authors' README). Not reproduced by this code yet.
"""

_base_ = './vit-b_finetune_100e.py'
model = dict(backbone=dict(type='mmmim.RelativeViT', relative_positions='separate', layer_scale=0.1))
total_batch_size = 2048
base_lr = 6.25e-4
warmup_epochs = 20
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
