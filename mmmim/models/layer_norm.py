"""Layer norm over the channels of maps, for configs of mmcv's, mmseg's and mmdet's modules."""

from timm.layers import LayerNorm2d

from ..registry import MODELS

# norm_cfg=dict(type='mmmim.LayerNorm2d', eps=1e-6): over the channels of each position of [B, C, H, W], as in ViTDet
MODELS.register_module(module=LayerNorm2d)
