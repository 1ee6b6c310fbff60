"""CrossMAE ablation, without noise, ViT-S/16 (Table 10).

    tools/dist_train.sh configs/crossmae/ablations/noise-without_vit-s.py 8

Fine-tuning with few labels: `configs/downstream/classification/few_labels`. The paper names neither target nor length:
CLIP and 300 epochs, its defaults.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 62.1% after fine-tuning on 1% of the labels, 75.3% on 10%. Not reproduced by this code
yet.
"""

_base_ = '../vit-b_300e.py'
model = dict(backbone=dict(arch='small'), drawing_head=dict(noise='none'))
