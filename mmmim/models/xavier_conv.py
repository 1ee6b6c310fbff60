"""A convolution that keeps its Xavier initialisation inside mmcv's and mmseg's modules."""

from torch import nn

from ..registry import MODELS


@MODELS.register_module()
class XavierConv2d(nn.Conv2d):
    """``Conv2d`` with Xavier's uniform initialisation (Glorot and Bengio, 2010), as ``conv_cfg`` of mmcv's modules.

    ``init_cfg=dict(type='Xavier', layer='Conv2d')`` on a decode head reaches only some of its layers: mmcv's
    ``ConvModule`` initialises its convolution again, Kaiming's way, unless that has an ``init_weights`` of its own.
    """

    def init_weights(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
