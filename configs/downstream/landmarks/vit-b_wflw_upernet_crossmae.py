r"""UperNet on ViT-B/16 for WFLW's 98 landmarks, after CrossMAE on the same faces without labels.

    tools/dist_train.sh configs/downstream/landmarks/vit-b_wflw_upernet_crossmae.py 8 \
        --cfg-options data_root=PATH/TO/WFLW pretrained=CHECKPOINT

CHECKPOINT is what configs/crossmae/vit-b_wflw_clip.py or vit-b_wflw_vgg.py makes. For 8 GPUs with 32 GB, 5 images each.

CrossMAE, section 4.2: ViT-B, UperNet, "heatmaps as in (Zheng et al., 2022)". It states no settings; these are those of
that work's public code (FaRL): 448 px, blocks 3, 5, 7 and 11, AdamW at 1e-4 for the encoder and 1e-2 for the rest,
weight decay 1e-5, 150 epochs, an average of the weights with 0.999. Different here: the crop is made at 448 px at once,
where it is made at 512 px and resized in the network; colours are jittered instead of gamma and noise; bf16 where the
hardware has it.

Published, quoted from the paper: 4.21% NME after pre-training with CLIP (Table 5), where FR is 2.8% and AUC 59.32%;
4.07% NME after pre-training with the perceptual target (appendix A.1). Not run; not reproduced by this code yet.
"""

_base_ = './vit-b_wflw_upernet_scratch.py'
pretrained = 'work_dirs/crossmae/vit-b_wflw_clip/epoch_300.pth'
