r"""ViT-L/16 fine-tuned on iNaturalist 2019; its layout: see vit-b_inaturalist2019.py.

    tools/dist_train.sh configs/downstream/classification/transfer/vit-l_inaturalist2019.py 8 \
        --cfg-options data_root=PATH/TO/inaturalist2019 pretrained=PATH/TO/CHECKPOINT.pth

For 8 GPUs with 80 GB. The slides do not state the learning rate and epochs for this set; the recipe is that of
ImageNet for this size. Published: 83.4%, quoted from the slides' Table 6. Not reproduced by this code yet.
"""

_base_ = './vit-b_inaturalist2019.py'
model = dict(backbone=dict(arch='large', drop_path_rate=0.2))
max_batch_per_device = 64
base_lr = 1e-3
max_epochs = 50
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
