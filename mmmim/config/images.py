"""How images are read, stated once in a config: number of channels, and range of values."""

from typing import Any, Dict, Iterator

from mmengine.config import Config

from .derived import same

# at the top of a config: the argument of LoadImage that it sets everywhere
GOVERNING = dict(image_channels='channels', value_range='value_range')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
PLACES = (*LOADERS, 'feature_eval', 'custom_hooks')


def settle_images(cfg: Config, before: Dict[str, Any]) -> None:
    """Let every ``LoadImage`` of a config read alike: in training, validation, testing, and for k-NN.

    ``image_channels`` and ``value_range`` at the top of a config are those of all. Without them, what the training
    pipeline states is taken wherever nothing is stated.

    Args:
        cfg: The config, which is changed.
        before: The same keys as the file had them, before the command line: the old value follows the new one.

    Raises:
        ValueError: A pipeline states something else than the key at the top.
    """
    _leave_out(cfg, {top: value for top, value in before.items() if cfg.get(top) is None})
    stated = stated_images(cfg)
    for place in PLACES:
        for step in loading_steps(cfg.get(place)):
            for top, key in GOVERNING.items():
                wanted, own = cfg.get(top), step.get(key)
                if wanted is None:
                    if own is None and key in stated:
                        step[key] = stated[key]
                elif own is None or same(own, before.get(top)):
                    step[key] = wanted
                elif not same(own, wanted):
                    raise ValueError(
                        f'{top}={wanted!r} is for all images of the config, and LoadImage in {place} states '
                        f'{key}={own!r}: set {top} alone'
                    )


def leave_out_images(cfg: Config) -> None:
    """Take out of each ``LoadImage`` what is the value of the key at the top, and so governed by that alone."""
    _leave_out(cfg, {top: cfg.get(top) for top in GOVERNING})


def _leave_out(cfg: Config, values: Dict[str, Any]) -> None:
    for step in (step for place in PLACES for step in loading_steps(cfg.get(place))):
        for top, value in values.items():
            if value is not None and same(step.get(GOVERNING[top]), value):
                del step[GOVERNING[top]]


def stated_images(cfg: Any) -> Dict[str, Any]:
    """``channels`` and ``value_range`` of a config's images, as far as it states them: for training, or else testing.

    Args:
        cfg: A config, or the one from a checkpoint.
    """
    found: Dict[str, Any] = {}
    for place in ('train_dataloader', 'test_dataloader', 'val_dataloader'):
        for step in loading_steps(cfg.get(place)):
            for key in GOVERNING.values():
                if step.get(key) is not None:
                    found.setdefault(key, step[key])
    return found


def loading_steps(node: Any) -> Iterator[Any]:
    """Every ``LoadImage`` below a part of a config."""
    if isinstance(node, dict):
        if str(node.get('type', '')).rpartition('.')[2] == 'LoadImage':
            yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from loading_steps(value)
