"""Whether a pre-training run is healthy: a verdict from its curve, by formulas that stand in ``docs/health.md``."""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from .rankme import FLAT_PIXELS

FORMULAS = 1  # their version, stored with a verdict; another number where a formula or a bound changes
# the bounds; docs/health.md says why
FALLING = 0.01  # of the loss, in the last fifth of training beside the fifth around its 60th per cent
FLAT = 0.02  # of the loss, since the first tenth
FLAT_RANK = 0.5  # of RankMe at the start
LOW_RANK = 2.0
SUNK_RANK = 0.25  # of RankMe at the start
NO_SPREAD = 0.03
OVERFITTED = 0.05  # of the lowest held-out loss (Prechelt, 1998)
FEW_IMAGES = 500
FEW_VIEWS = 10_000
MOST_FLAT = 50.0  # per cent of the images
ADVERSARIAL = ('loss_adv', 'loss_gan', 'loss_disc', 'loss_image', 'loss_patch')


class Facts(NamedTuple):
    """What a verdict needs beside the curve.

    Attributes:
        images: That are trained on.
        views: Images of all epochs together.
        held_out: Images that are measured.
        width: Of the features.
        pretrained: Whether training began with weights: then few images may do.
        moving_target: Whether the target's network follows the encoder: then a loss tells nothing about progress.
    """

    images: int
    views: int
    held_out: int
    width: int
    pretrained: bool = False
    moving_target: bool = False


class Check(NamedTuple):
    """One question to a run.

    Attributes:
        name: The verdict where it holds.
        formula: What has to hold, in words.
        value: What was found, in words.
        holds: Whether it does.
        sentence: The reason, and what to do.
    """

    name: str
    formula: str
    value: str
    holds: bool
    sentence: str


class Values(NamedTuple):
    """One quantity of the curve: ``iters [N]`` ascending, ``values [N]``."""

    iters: np.ndarray
    values: np.ndarray


def judge(records: Sequence[Dict[str, Any]], facts: Facts) -> Dict[str, Any]:
    """The verdict on a whole run.

    Args:
        records: Lines of ``curve.jsonl``, in order.
        facts: Of the run.

    Returns:
        ``verdict`` (``'near-constant images'``, ``'collapsed'``, ``'flat'``, ``'too few images'``, ``'still falling'``:
        the first that holds, else ``'healthy'``), ``reasons`` (its sentences: advice for a lesser fault, such as more
        epochs, would be wrong beside a graver one), ``rankme`` (at the end, or None), ``ceiling`` (the highest RankMe
        possible), ``checks`` (all of them, as dicts of :class:`Check`), ``images`` (that were measured), ``formulas``
        (their version).
    """
    curve = {name: _values(records, name) for name in {name: None for record in records for name in record}}
    asked = [_near_constant(curve), _collapsed(curve, facts), _flat(curve, facts), *_too_few(curve, facts)]
    checks = [check for check in [*asked, _still_falling(curve, facts)] if check is not None]
    found = [check for check in checks if check.holds]
    ranks = _measured(curve, 'health/rankme')
    return dict(
        verdict=found[0].name if found else 'healthy',
        reasons=[check.sentence for check in found if check.name == found[0].name] or [_healthy(curve, checks)],
        rankme=None if ranks is None else round(float(ranks[-1]), 3),
        ceiling=ceiling(facts),
        checks=[check._asdict() for check in checks],
        images=facts.held_out,
        formulas=FORMULAS,
    )


def ceiling(facts: Facts) -> int:
    """The highest RankMe possible."""
    return min(facts.held_out, facts.width)


def loss_to_judge(names: Sequence[str]) -> Optional[str]:
    """The loss that should fall; None for a game of two players, whose losses need not fall in a healthy run."""
    return 'loss' if 'loss' in names and not set(ADVERSARIAL) & set(names) else None


def _values(records: Sequence[Dict[str, Any]], name: str) -> Values:
    pairs = [(r['iter'], r[name]) for r in records if isinstance(r.get(name), (int, float))]
    pairs = sorted((pair for pair in pairs if math.isfinite(pair[1])), key=lambda pair: pair[0])
    iters, values = zip(*pairs) if pairs else ((), ())
    return Values(np.asarray(iters, np.int64), np.asarray(values, np.float64))


def _measured(curve: Dict[str, Values], name: str) -> Optional[np.ndarray]:
    """The values of one quantity, None without any."""
    found = curve.get(name)
    return None if found is None or not len(found.values) else found.values


def _at_start(curve: Dict[str, Values], name: str) -> Optional[float]:
    """The value before training, None where it was not measured."""
    found = curve.get(name)
    return float(found.values[0]) if found is not None and len(found.iters) and found.iters[0] == 0 else None


def _arrow(first: Optional[float], last: float) -> str:
    return f'{last:.3g}' if first is None else f'{first:.3g} → {last:.3g}'


def _part(loss: Values, start: float, end: float) -> np.ndarray:
    """The losses between two shares of training."""
    last = loss.iters[-1]
    return loss.values[(loss.iters > start * last) & (loss.iters <= end * last)]


def _near_constant(curve: Dict[str, Values]) -> Optional[Check]:
    flat, within, between = (
        _measured(curve, f'health/{name}') for name in ('flat_images', 'pixel_std', 'pixel_std_between')
    )
    if flat is None or within is None or between is None:
        return None
    return Check(
        'near-constant images',
        f'more than {MOST_FLAT:g}% of the images have pixels with a standard deviation below {FLAT_PIXELS:g} of 255, '
        f'or different images one below {FLAT_PIXELS:g} at the same place',
        f'{flat[-1]:.0f}% of the images; {within[-1]:.1f} within an image (median), {between[-1]:.1f} between images',
        bool(flat[-1] > MOST_FLAT or between[-1] < FLAT_PIXELS),
        'Most images have almost one colour, or all are almost the same: there is nothing to predict. Look at some; '
        'images of more than 8 bits may need another range (LoadImage).',
    )


def _collapsed(curve: Dict[str, Values], facts: Facts) -> Optional[Check]:
    ranks, spread = _measured(curve, 'health/rankme'), _measured(curve, 'health/feature_spread')
    if ranks is None or spread is None:
        return None
    first, end = _at_start(curve, 'health/rankme'), ranks[-1]
    sunk = facts.pretrained and first is not None and end < SUNK_RANK * first
    return Check(
        'collapsed',
        f'RankMe below {LOW_RANK:g}, or, from weights, below {SUNK_RANK:g} of that at the start; or a spread of '
        f'features below {NO_SPREAD:g} (0: all alike, 1: even)',
        f'RankMe {_arrow(first, end)} of {ceiling(facts)}; spread {spread[-1]:.3g}',
        bool(end < LOW_RANK or sunk or spread[-1] < NO_SPREAD),
        f'Images get almost the same features: RankMe is {_arrow(first, end)}, the spread {spread[-1]:.3g}. A lower '
        'learning rate (base_lr), a longer warm-up or gradient clipping may help.',
    )


def _flat(curve: Dict[str, Values], facts: Facts) -> Optional[Check]:
    name, ranks = loss_to_judge(list(curve)), _measured(curve, 'health/rankme')
    first = _at_start(curve, 'health/rankme')
    if name is None or facts.moving_target or ranks is None or first is None or len(curve[name].values) < 20:
        return None
    begin, end = (part.mean() for part in (_part(curve[name], 0.1, 0.2), _part(curve[name], 0.9, 1.0)))
    fall = (begin - end) / max(abs(begin), 1e-12)
    return Check(
        'flat',
        f'the loss of the last tenth is less than {FLAT:.0%} below that of the second tenth, and RankMe below '
        f'{FLAT_RANK:g} of that at the start',
        f'loss {begin:.4g} → {end:.4g} ({-fall:+.1%}); RankMe {_arrow(first, ranks[-1])}',
        bool(fall < FLAT and ranks[-1] < FLAT_RANK * first),
        f'The loss hardly changed after the first fifth of training ({-fall:+.1%}), and features stayed poor: nothing '
        'is learned. Another learning rate (base_lr), three times higher or lower, is the first thing to try.',
    )


def _too_few(curve: Dict[str, Values], facts: Facts) -> List[Optional[Check]]:
    few = Check(
        'too few images',
        f'fewer than {FEW_IMAGES:,} images or {FEW_VIEWS:,} looks at one (images times epochs), from random weights',
        f'{facts.images:,} images, {facts.views:,} looks' + (', from weights' if facts.pretrained else ''),
        not facts.pretrained and (facts.images < FEW_IMAGES or facts.views < FEW_VIEWS),
        f'{facts.images:,} images and {facts.views:,} looks at one are too few to train from random weights: start '
        'from public ones (--model timm:NAME), or '
        + ('add images.' if facts.images < FEW_IMAGES else 'train for more epochs.'),
    )
    return [few, _overfitted(curve, facts)]


def _overfitted(curve: Dict[str, Values], facts: Facts) -> Optional[Check]:
    name, held_out = loss_to_judge(list(curve)), curve.get('health/held_out_loss')
    if name is None or facts.moving_target or held_out is None or len(held_out.values) < 3:
        return None
    best, last = int(held_out.values.argmin()), held_out.iters[-1]
    rise = (held_out.values[-1] - held_out.values[best]) / max(abs(held_out.values[best]), 1e-12)
    width, place = 0.05, held_out.iters[best] / last
    then = _part(curve[name], max(place - width, 0), place + width)
    now = _part(curve[name], 1 - 2 * width, 1)
    falls = bool(len(then) and len(now) and now.mean() < then.mean())
    return Check(
        'too few images',
        f'the held-out loss is {OVERFITTED:.0%} above its lowest value while the training loss went on falling',
        f'held-out loss {held_out.values[best]:.4g} at {place:.0%} of training, {held_out.values[-1]:.4g} at its end '
        f'({rise:+.1%}); the training loss {"fell" if falls else "did not fall"} meanwhile',
        bool(rise > OVERFITTED and falls),
        f'The loss of images that are not trained on rose by {rise:.0%} since {place:.0%} of training while the '
        'training loss fell: the images are known by heart. Train for fewer epochs, add images, or start from public '
        'weights.',
    )


def _still_falling(curve: Dict[str, Values], facts: Facts) -> Optional[Check]:
    name = loss_to_judge(list(curve))
    if name is None or facts.moving_target:
        return None
    # not of neighbouring parts: at the end of a schedule the rate is near 0, and the loss of any run rests
    before, now = _part(curve[name], 0.5, 0.7), _part(curve[name], 0.8, 1.0)
    if min(len(before), len(now)) < 5:
        return None
    scale = max(abs(before.mean()), 1e-12)
    fall = (before.mean() - now.mean()) / scale
    error = math.sqrt(before.var(ddof=1) / len(before) + now.var(ddof=1) / len(now)) / scale
    return Check(
        'still falling',
        f'the loss of the last fifth of training is more than {FALLING:.0%} below that from 50% to 70%, and '
        'by more than two standard errors',
        f'{before.mean():.4g} → {now.mean():.4g} ({-fall:+.2%}, standard error {error:.2%})',
        bool(fall > FALLING and fall > 2 * error),
        f'The loss still fell by {fall:.1%} in the second half of training: more epochs are likely to give better '
        'features.',
    )


def _healthy(curve: Dict[str, Values], checks: Sequence[Check]) -> str:
    names = list(dict.fromkeys(check.name for check in checks))
    judged = 'still falling' in names
    short = loss_to_judge(list(curve)) is not None
    why = 'the run is short' if short else 'it need not fall with this method'
    left_out = '' if judged else f' Of the loss nothing is said: {why}.'
    return f'None of these holds: {", ".join(names)}.{left_out}' if names else 'Nothing was measured.'
