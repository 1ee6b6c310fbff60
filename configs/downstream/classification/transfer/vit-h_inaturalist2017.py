r"""ViT-H/14 fine-tuned on iNaturalist 2017; its layout: see vit-b_inaturalist2017.py.

    tools/dist_train.sh configs/downstream/classification/transfer/vit-h_inaturalist2017.py 8 \
        --cfg-options data_root=PATH/TO/inaturalist2017 pretrained=PATH/TO/CHECKPOINT.pth

For 8 GPUs with 80 GB. The slides do not state the learning rate and epochs for this set; the recipe is that of
ImageNet for this size. Published: 79.3%, quoted from the slides' Table 6. Not reproduced by this code yet.
"""

_base_ = './vit-l_inaturalist2017.py'
model = dict(backbone=dict(arch='huge', patch_size=14, drop_path_rate=0.3))
max_batch_per_device = 32
