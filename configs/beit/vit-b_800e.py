r"""BEiT with ViT-B/16 on ImageNet-1K, 800 epochs, by mmpretrain's config, model and pipeline.

    tools/dist_train.sh configs/beit/vit-b_800e.py 8 \
        --cfg-options model.target_generator.init_cfg.checkpoint=PATH/TO/dalle_encoder.pth

It needs the encoder of DALL-E's discrete VAE in mmpretrain's file, `dalle_encoder.pth`, which gives the tokens that are
predicted. mmpretrain fetches it where there is a network, from the address in the config that this one inherits. For 8
GPUs: 256 images on each, no accumulation. What is this project's: batch and rate follow from the keys below, bf16
without a gradient scaler, checkpoints that are written whole, a stopped run goes on in mid-epoch.

mmpretrain's file has 300 epochs (`max_epochs=300`), the documents' rows 800. ViT-L:
`model.backbone.arch=large model.head.embed_dims=1024 model.backbone.layer_scale_init_value=1e-5`; ViT-S: `deit-small`
and 384.

Published: 83.2% after fine-tuning, 47.1 mIoU on ADE20K, 49.8 box AP and 44.4 mask AP on COCO (quoted in CMAE, Tables 2,
3a and 3b). Built, not run: the file could not be had where this was written.
"""

_base_ = 'mmpretrain::beit/beit_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'
custom_imports = dict(imports=['mmmim'], allow_failed_imports=False)
total_batch_size = 2048
max_batch_per_device = 256
base_lr = 1.875e-4
max_epochs = 800
warmup_epochs = 10
train_dataloader = dict(
    dataset=dict(ann_file='', split='train')
)  # class folders; a meta/train.txt is used if it is there
optim_wrapper = dict(
    _delete_=True,
    type='mmmim.AutocastOptimWrapper',
    optimizer=dict(type='AdamW', betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=3.0),
    paramwise_cfg=dict(
        custom_keys={
            name: dict(decay_mult=0.0)
            for name in ('.ln', '.bias', 'q_bias', 'v_bias', '.cls_token', '.pos_embed', '.gamma')
        }
    ),
)
train_cfg = dict(type='mmmim.HostEpochLoop')
default_hooks = dict(
    checkpoint=dict(type='mmmim.AtomicCheckpointHook', interval=20, interval_minutes=30, max_keep_ckpts=2)
)
