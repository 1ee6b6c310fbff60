"""UperNet on a ViT that puts out a heatmap for each of WFLW's 98 points, as FaRL's public code has it.

Four blocks' maps, at the patch's stride, become a pyramid of four scales. The widths of neck and head follow from the
backbone; batch statistics cross ranks, on the CPU too. Colours of training images are changed on the device.
"""

model = dict(
    type='mmmim.LandmarkEstimator',
    data_preprocessor=dict(
        type='mmmim.ColorPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        colors=dict(
            type='mmmim.ColorAugment',
            brightness=0.4,
            contrast=0.4,
            saturation=0.4,
            hue=0.0,
            prob=0.5,
            gray_prob=0.2,
            blur_prob=0.2,
        ),
    ),
    backbone=dict(
        type='mmmim.DenseViT',
        arch='base',
        patch_size=16,
        out_indices=(3, 5, 7, 11),
        final_norm=False,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=dict(type='mmmim.MultiScalePyramid'),
    head=dict(
        type='mmseg.UPerHead',
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=768,
        dropout_ratio=0.1,
        num_classes=98,
        norm_cfg=dict(type='mmmim.CrossRankBatchNorm2d'),
        align_corners=False,
    ),
    heatmap_size=128,
    radius=5.0,
    distance='euclidean',
    heatmap_weight=1.0,
    coordinate_weight=1.0,
)
