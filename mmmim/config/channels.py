"""Images of other channels than RGB in classification, segmentation and detection."""

from typing import Any

from mmengine.config import Config

from .classification import name_of
from .images import stated_images
from .parts import pipeline_steps

# preprocessors that take 1 or 3 channels, and ours in their place
_PREPROCESSORS = dict(SegDataPreProcessor='mmmim.SegPreprocessor', DetDataPreprocessor='mmmim.DetPreprocessor')
# transforms that compute with red, green and blue
_COLOURS = (
    'AsBGR', 'AutoAugment', 'ColorJitter', 'ColorTransform', 'Lighting', 'PhotoMetricDistortion', 'RandAugment',
    'RGB2Gray', 'RandomGrayscale', 'TrivialAugment', 'YOLOXHSVRandomAug',
)  # fmt: skip


def settle_channels(cfg: Config) -> None:
    """Fit backbone and preprocessor to ``image_channels``, or to the ``channels`` that ``LoadImage`` states.

    Does nothing for three channels. mmseg's and mmdet's preprocessors, which take 1 or 3, become ours.

    Raises:
        ValueError: ``in_chans``, mean or std of other channels, or a transform that needs colours.
    """
    channels, model = stated_images(cfg).get('channels', 3), cfg.get('model') or {}
    preprocessor = model.get('data_preprocessor') or {}
    if channels == 3 or not model.get('backbone') or cfg.get('default_scope', 'mmmim') == 'mmmim':
        return
    if model.backbone.setdefault('in_chans', channels) != channels:
        raise ValueError(
            f'images are read with {channels} channels, but model.backbone.in_chans={model.backbone.in_chans}: set '
            f'image_channels={channels}, and leave in_chans out'
        )
    for key in ('mean', 'std'):
        if len(preprocessor.get(key) or ()) not in (0, channels):
            raise ValueError(
                f'images have {channels} channels, but model.data_preprocessor.{key} has {len(preprocessor[key])} '
                'values: give one a channel, in units of 0..255. The config of pre-training has them, and weights of '
                'ours bring them along (pretrained=PATH)'
            )
    _check_transforms(cfg, channels)
    name = name_of(preprocessor)
    if name in _PREPROCESSORS:
        preprocessor.type = _PREPROCESSORS[name]
    if 'bgr_to_rgb' in preprocessor:
        preprocessor.bgr_to_rgb = False


def _check_transforms(cfg: Config, channels: int) -> None:
    for step in pipeline_steps(cfg):
        name = name_of(step)
        if name in _COLOURS:
            raise ValueError(
                f'{name} is for images of 3 channels, and these have {channels}: leave it out, with a train_pipeline '
                'of your own in the config (the one of its base without this step)'
            )
        if name == 'LoadImageFromFile':
            raise ValueError(
                f'LoadImageFromFile reads 3 channels, and these images have {channels}: take '
                "dict(type='mmmim.LoadImage', decode='whole') in its place"
            )


def reads_with_opencv(cfg: Any) -> bool:
    """Whether a pipeline of a config has mmcv's reader, which knows no range and 8 bits alone."""
    return any(name_of(step) == 'LoadImageFromFile' for step in pipeline_steps(cfg))
