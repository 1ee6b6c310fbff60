"""GAN-MAE at 96 px on two CPU cores, beside `mae.py`: the same encoder, images, batch, epochs and learning rate.

    python tools/datasets/make_scenes.py data/scenes
    python tools/train.py configs/quickstart/gan_mae.py

What it adds: the same encoder also looks at the whole image that the decoder has completed, and tells which patches are
the decoder's; the target is raw pixels. `--cfg-options model.scheme=two_stage` and `model.scheme=combined` are the
other training schemes. No published result.
"""

_base_ = './mae.py'
model = dict(
    type='GANMAE', target=dict(norm_pix=False), patch_head=dict(type='PatchDiscriminationHead'), scheme='adversarial'
)
optim_wrapper = dict(constructor='PlayersOptimWrapperConstructor')
model_wrapper_cfg = dict(find_unused_parameters=True)
default_hooks = dict(discriminator=dict(type='DiscriminatorHook'))
