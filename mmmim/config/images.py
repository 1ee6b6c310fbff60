"""How images are read, stated once in a config: number of channels, and range of values."""

from typing import Any, Dict, Iterator

from mmengine.config import Config

# at the top of a config: the argument of LoadImage that it sets everywhere
GOVERNING = dict(image_channels='channels', value_range='value_range')
_PLACES = ('train_dataloader', 'val_dataloader', 'test_dataloader', 'feature_eval', 'custom_hooks')


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
    stated = stated_images(cfg)
    for place in _PLACES:
        for step in loading_steps(cfg.get(place)):
            for top, key in GOVERNING.items():
                wanted, own = cfg.get(top), step.get(key)
                if wanted is None:
                    if own is None and key in stated:
                        step[key] = stated[key]
                elif own is None or _same(own, before.get(top)):
                    step[key] = wanted
                elif not _same(own, wanted):
                    raise ValueError(
                        f'{top}={wanted!r} is for all images of the config, and LoadImage in {place} states '
                        f'{key}={own!r}: set {top} alone'
                    )


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


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal, lists and tuples alike."""
    return _plain(one) == _plain(other)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
