"""Parts of mmseg for images of other channels than RGB; the one module that imports mmseg, where a config needs it."""

from mmseg.models.data_preprocessor import SegDataPreProcessor as _SegDataPreProcessor

from ..registry import MODELS
from .preprocess import AnyChannels


@MODELS.register_module()
class SegPreprocessor(AnyChannels, _SegDataPreProcessor):
    """mmseg's, for images of as many channels as mean and std have values."""
