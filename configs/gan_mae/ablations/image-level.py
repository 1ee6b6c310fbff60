"""GAN-MAE ablation, the discriminator also tells whether an image was changed at all (section 4.2).

    tools/dist_train.sh configs/gan_mae/ablations/image-level.py 8

Half of the images reach the discriminator as they are. The head looks at the class token, and the generator is pushed
by it as by that of the patches: choices, the paper states neither.

For 8 GPUs with 80 GB: 256 images on each, 2 batches accumulated. Published: "the result didn't improve the final
accuracy" (section 4.2), without a number. Not reproduced by this code yet.
"""

_base_ = '../vit-b_800e.py'
model = dict(image_head=dict(type='ImageDiscriminationHead'), unchanged_ratio=0.5)
