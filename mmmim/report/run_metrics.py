"""How measured quantities are called and written, and what they say about a run."""

import re
from typing import List, NamedTuple, Optional, Tuple

from .run_data import RANDOM, RunData, beginning

_HEALTH = {
    'health/rankme': 'RankMe of held-out features',
    'health/feature_spread': 'spread of held-out features',
    'health/held_out_loss': 'held-out loss while training',
}
_KINDS = {'bbox': 'box', 'segm': 'mask'}
_VARIANTS = {'': '', '_50': ' at IoU 0.5', '_75': ' at IoU 0.75', '_s': ', small', '_m': ', medium', '_l': ', large'}
# of mmseg's and mmdet's metrics, which are percentages, in the order in which they are shown
TITLES = {
    'mIoU': 'mIoU',
    'mAcc': 'mean accuracy of classes',
    'aAcc': 'pixel accuracy',
    **{
        f'coco/{kind}_mAP{suffix}': f'{title} AP{variant}'
        for suffix, variant in _VARIANTS.items()
        for kind, title in _KINDS.items()
    },
}
_ORDER = ['knn/', 'linear/', 'held_out/', *TITLES]


class Metric(NamedTuple):
    """A quantity for people: its title, and whether it is a percentage, of which more is better."""

    title: str
    percent: bool = False

    def write(self, value: Optional[float]) -> str:
        """With its unit; '' for None."""
        if value is None:
            return ''
        return f'{value:.1f}%' if self.percent else f'{value:.4g}'

    def change(self, first: Optional[float], last: Optional[float]) -> str:
        """The difference, with its sign; '' where one of them is None."""
        if first is None or last is None:
            return ''
        return (f'{last - first:+.1f}' if self.percent else f'{last - first:+.3g}').replace('-', '\u2212')


def describe(name: str) -> Metric:
    """What a name in the log stands for; unknown names stand for themselves."""
    knn = re.fullmatch(r'knn/top(\d+)_k(\d+)', name)
    if knn:
        return Metric(f'k-NN {"" if knn[1] == "1" else f"top-{knn[1]} "}accuracy (k = {knn[2]})', True)
    if name == 'linear/top1':
        return Metric('linear probe accuracy', True)
    if name == 'held_out/recon_loss':
        return Metric('held-out loss')
    if name in _HEALTH:
        return Metric(_HEALTH[name])
    if name in TITLES:
        return Metric(TITLES[name], True)
    if 'loss' in name:
        return Metric('training loss' if name == 'loss' else name.replace('_', ' '))
    if name.endswith('_accuracy'):  # of discriminators, in the log of training: shares
        return Metric(name.replace('_', ' '))
    # MMEngine's metrics of these names are percentages
    percent = bool(re.search(r'(top[15]|accuracy|aAcc|mAcc|mIoU)\b', name))
    return Metric('learning rate' if name == 'lr' else name, percent)


def in_order(names: List[str]) -> List[str]:
    """k-NN, linear probe, held-out loss, what dense tasks measure, then the rest by name."""
    return sorted(names, key=lambda name: (_place(name), name))


def _place(name: str) -> int:
    known = name if name in _ORDER else name[: name.find('/') + 1]
    return _ORDER.index(known) if known in _ORDER else len(_ORDER)


def metric_names(runs: List[RunData]) -> List[str]:
    """All that was measured in any run."""
    return in_order(list({name: None for run in runs for row in run.evaluations for name in row.metrics}))


def first_and_last(run: RunData, name: str) -> Tuple[Optional[float], Optional[float]]:
    """The value before training and that of the furthest training; None where there is none."""
    rows = [row for row in run.evaluations if name in row.metrics and row.iter is not None]
    first = rows[0].metrics[name] if rows and rows[0].label in (RANDOM, beginning(run)) else None
    last = rows[-1].metrics[name] if rows and rows[-1].label not in (RANDOM, beginning(run)) else None
    return first, last
