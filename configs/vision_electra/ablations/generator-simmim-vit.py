"""Vision ELECTRA ablation, SimMIM with its ViT as the generator.

    tools/dist_train.sh configs/vision_electra/ablations/generator-simmim-vit.py 4

The file is one of SimMIM's authors. For 4 GPUs with 32 GB. Published: nothing; the supplement has no number for this.
Not reproduced by this code yet.
"""

_base_ = '../vit-b_50e.py'
model = dict(
    pretrained_generator='data/simmim_pretrain__vit_base__img224__800ep.pth',
    generator=dict(type='MaskedRelativeViT', relative_positions='shared'),
    neck=dict(_delete_=True, type='SimMIMDecoder'),
    head=dict(norm='l1'),
)
