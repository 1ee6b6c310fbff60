"""How the images of some weights were read and normalised: what goes on from them reads its images alike."""

import logging
import os
from typing import Any, Dict, Sequence

from mmengine.config import Config
from mmengine.logging import print_log

from ..checkpoint.config_text import ConfigTextError, stored_config
from ..checkpoint.read import CorruptCheckpointError, UnsafeCheckpointError, load_file
from ..checkpoint.write import exported_facts
from ..models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from .channels import reads_with_opencv
from .derived import same
from .images import GOVERNING, PLACES, loading_steps, stated_images


def images_of_weights(path: str) -> Dict[str, Any]:
    """``channels``, ``value_range``, ``mean`` and ``std``, as far as the config in a file states them.

    Args:
        path: A checkpoint or an exported encoder. Empty for another name than that of a file, and for files without a
            config; whoever loads the weights says what is wrong with them.
    """
    if not os.path.isfile(path):
        return {}
    try:
        exported = path.endswith('.safetensors')  # of the others no tensor is read either
        config = stored_config(
            dict(meta=dict(config=exported_facts(path))) if exported else load_file(path, map_location='meta')
        )
    except (ConfigTextError, CorruptCheckpointError, UnsafeCheckpointError):
        return {}
    model = config.get('model') or {}
    facts = stated_images(config)
    statistics = model.get('data_preprocessor')
    statistics = statistics if isinstance(statistics, dict) else {}
    facts.update({key: list(statistics[key]) for key in ('mean', 'std') if statistics.get(key)})
    if (model.get('backbone') or {}).get('in_chans'):
        facts['channels'] = model['backbone']['in_chans']
    return facts


def settle_from_weights(cfg: Config) -> None:
    """Read and normalise images as the weights that a config starts from were trained with.

    Channels, range, mean and standard deviation of the checkpoint are taken where the config states none, or ImageNet's
    statistics, which every base config has. Others stay, and what differs is a warning.

    Args:
        cfg: The config, whose weights ``load_from`` or the ``init_cfg`` of the backbone names; it is changed. The first
            of them counts that states something. A file that is not there is a warning, if none does.
    """
    model = cfg.get('model') or {}
    init = (model.get('backbone') or {}).get('init_cfg')
    named = (cfg.get('load_from'), init.get('checkpoint') if isinstance(init, dict) else None)
    paths = [path for path in named if isinstance(path, str) and path]
    for path in paths:
        facts = images_of_weights(path)
        if facts:
            _settle_loading(cfg, facts, path)
            if model.get('data_preprocessor'):
                _settle_statistics(cfg, facts, path)
            return
    for path in paths:
        if ':' not in path and not os.path.isfile(path):  # no address, and no name of a network
            _warn(
                f'the settings of the config alone: {path}, whose channels, range, mean and std it takes, is not here'
            )


def _settle_loading(cfg: Config, facts: Dict[str, Any], path: str) -> None:
    own = stated_images(cfg)
    if facts.get('value_range') and reads_with_opencv(cfg):
        _warn(
            f'LoadImageFromFile, which knows no value_range, but {path} was trained with {facts["value_range"]}: take '
            "dict(type='mmmim.LoadImage', decode='whole')"
        )
    own.setdefault('channels', cfg.model.backbone.get('in_chans'))
    for top, key in GOVERNING.items():
        if facts.get(key) is None:
            continue
        if own.get(key) is None:
            for place in PLACES:
                for step in loading_steps(cfg.get(place)):
                    step[key] = facts[key]
            if key == 'channels' and facts[key] != 3:
                cfg.model.backbone.in_chans = facts[key]
            if key == 'value_range' or facts[key] != 3:
                _say(f'{key}={facts[key]}, as the images of {path}')
        elif not same(own[key], facts[key]):
            _warn(f'{key}={own[key]}, but {path} was trained with {facts[key]}: set {top}, or leave it out')


def _settle_statistics(cfg: Config, facts: Dict[str, Any], path: str) -> None:
    preprocessor = cfg.model.data_preprocessor
    for key, usual in (('mean', IMAGENET_MEAN), ('std', IMAGENET_STD)):
        theirs, own = facts.get(key), preprocessor.get(key)
        if theirs is None or (own is not None and _close(own, theirs)):
            continue
        if own is None or _close(own, usual):
            preprocessor[key] = theirs
            _say(f'data_preprocessor.{key}={theirs}, as of {path}')
        else:
            _warn(f'data_preprocessor.{key}={list(own)}, but {path} was trained with {theirs}')


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(abs(a - b) < 0.01 for a, b in zip(one, other))


def _say(text: str) -> None:
    print_log(f'images are read with {text}', 'current')


def _warn(text: str) -> None:
    print_log(f'images are read with {text}', 'current', logging.WARNING)
