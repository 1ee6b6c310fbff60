"""A network or a trained model as an object: `mmmim.load`."""

import os
from typing import Any, Dict, Optional, Union

from mmengine.config import Config

from ..checkpoint.read import AnyPath
from ..config.check_values import checked
from ..config.paths import find_config
from ..models.patches import Size
from . import frozen
from .frozen import Frozen, Layer
from .predicting.predictor import TASKS, Predictor
from .trained import is_trained, open_trained, task_of


@checked
def load(
    model: AnyPath,
    *,
    config: Optional[str] = None,
    prefix: Optional[str] = None,
    device: Optional[str] = None,
    layer: Layer = None,
    pool: Optional[str] = None,
    image_size: Optional[Size] = None,
) -> Union[Frozen, Predictor]:
    """A network as an object with ``.embed(images)``; one trained for a task also has ``.predict(images)``.

    Args:
        model: A run's folder (its ``encoder.safetensors``, or else its newest checkpoint), a checkpoint file of any
            project, ``'timm:NAME'``, ``'hf-hub:ORG/NAME'``, or ``'efficientnet-lite0'``; or a folder that
            ``mmmim finetune`` or the training of a classifier, segmentor or detector has made.
        config: The config of a checkpoint, if it is not stored inside; one of a task makes the file a trained model.
        prefix: Which network, where a file holds several, such as ``'student'``.
        device: Such as ``'cuda:1'``; None: a GPU if there is one.
        layer: Whose features ``embed`` takes: an int from 1 to ``depth`` (-1: the last); ``'auto'``: what
            the run, or the encoder that it exported, has stored, or else the network's output; None: as ``'auto'`` for
            a run's folder, else the output.
        pool: ``'mean'`` of the patch tokens, the first class token ``'cls'``, the mean of several class tokens
            ``'cls_mean'``, or None: what the network itself does, and of our encoders and of files the mean.
        image_size: Pixels, an int or (height, width), if not the network's own. As ``layer`` and ``pool``, of ``embed``
            alone: a trained model predicts at the size of its config.

    Returns:
        :class:`~mmmim.apis.predicting.predictor.Predictor` of a trained model, else
        :class:`~mmmim.apis.frozen.Frozen`.

    Raises:
        FileNotFoundError: There is no such file or folder, or weights could not be fetched.
        ValueError: An unknown name, or the network has no such layer, pooling or image size; any of these of a
            classifier with a backbone of another project, which embeds by what its head sees.
        EncoderMismatchError: A file holds an architecture that nothing here computes.
        ImportError: The toolbox of a task is not installed.
    """
    options: Dict[str, Any] = dict(prefix=prefix, device=device, layer=layer, pool=pool, image_size=image_size)
    name = os.fspath(model)
    if not (is_trained(name) if config is None else _is_of_task(config)):
        return frozen.load(model, config=config, **options)
    trained = open_trained(name, config)
    if trained.task not in TASKS:
        return frozen.load(model, config=config, **options)
    # a folder has its own way to its encoder, unless fine-tuning has made it
    found = Predictor(trained, device, lambda: frozen.load(trained.checkpoint, config=trained.config, **options))
    for key in ('prefix', 'layer', 'pool', 'image_size'):
        if found.foreign is not None and options[key] not in (None, 'auto'):
            raise ValueError(
                f'{key}={options[key]!r} is for encoders of mmmim, and the backbone of {name} is a {found.foreign}: '
                f'its features are what its head sees. Leave {key} out'
            )
    return found


def _is_of_task(config: str) -> bool:
    try:
        return task_of(Config.fromfile(find_config(config))) is not None
    except Exception:  # configs are programs: they may raise anything; told where it is read for use
        return False
