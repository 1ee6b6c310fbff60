"""CrossMAE with ViT-B/16 and the perceptual target on the training faces of WFLW, without their points.

    tools/dist_train.sh configs/crossmae/vit-b_wflw_vgg.py 8 --cfg-options data_root=PATH/TO/WFLW

The paper calls the target "the perceptual (Johnson et al., 2016) feature" and does not name the layer: the one by which
Johnson et al. compare content. Where torchvision's weights of VGG-16 are not on this machine, the error says how to get
them. The length is not stated either, see vit-b_wflw_clip.py.

For 8 GPUs with 80 GB: 64 images on each; `max_batch_per_device` allows 256, so that 2 GPUs do without accumulation.
Published, quoted from the paper: 4.07% NME on WFLW (appendix A.1), with
`configs/downstream/landmarks/vit-b_wflw_upernet_crossmae`. Not run; not reproduced by this code yet.
"""

_base_ = './vit-b_wflw_clip.py'
model = dict(target=dict(_delete_=True, type='VGGTarget', layer='relu3_3'))
