"""Whether a run is healthy, as ``run.json`` says it: the verdict in words, its checks, the curves behind it."""

from typing import Any, List, NamedTuple, Optional, Sequence

from markupsafe import Markup

from . import summary
from .curves import Drawn, chart
from .run_curve import number
from .run_data import RunData, mapping, text
from .run_metrics import describe
from .tables import Cell, Table

CURVES = ('health/rankme', 'health/feature_spread', 'health/held_out_loss')
GOOD = ('healthy', 'still falling')  # what is no warning


class Health(NamedTuple):
    """What the page says of a run's health."""

    words: str
    warning: bool
    checks: Optional[Table]
    note: str


def health(run: RunData) -> Optional[Health]:
    """The stored verdict; None where there is none."""
    stored = mapping(run.record.get('health'))
    verdict = text(stored.get('verdict'))
    if not verdict:
        return None
    reasons = stored.get('reasons')
    said = ' '.join(text(reason) for reason in (reasons if isinstance(reasons, list) else []))
    step = number(stored.get('iter'))
    when = f' (at iteration {step:,.0f})' if step is not None and step < run.iters else ''
    return Health(
        f'{summary.capitalised(verdict)}{when}. {said}'.strip(), verdict not in GOOD, _table(run, stored), _note(stored)
    )


def charts(runs: Sequence[RunData], by_epoch: bool) -> List[Markup]:
    """RankMe, spread of features and held-out loss, the runs as lines."""
    drawn = [Drawn(run.name, slot, run) for slot, run in enumerate(runs)]
    made = [chart(name, summary.capitalised(describe(name).title), drawn, by_epoch) for name in CURVES]
    return [drawing for drawing in made if drawing]


def _table(run: RunData, stored: dict) -> Optional[Table]:
    checks: Any = stored.get('checks')
    rows = []
    for check in map(mapping, checks if isinstance(checks, list) else []):
        holds = Cell('yes') if check.get('holds') is True else 'no'
        rows.append([text(check.get('name')), text(check.get('formula')), text(check.get('value')), holds])
    return Table(f'Health of {run.name}', ['verdict', 'where', 'measured', 'holds'], rows) if rows else None


def _note(stored: dict) -> str:
    """How it was measured, in sentences."""
    images, rank, most = (number(stored.get(key)) for key in ('images', 'rankme', 'ceiling'))
    seconds, version = number(stored.get('seconds')), number(stored.get('formulas'))
    sentences = [
        "The first verdict that holds is the run's.",
        f'Measured on {images:,.0f} held-out images' + (f' in {summary.duration(seconds)}' if seconds else '') + '.'
        if images
        else '',
        f"RankMe, the exponential of the entropy of the features' singular values, is {rank:.3g} of at most {most:g}."
        if rank is not None and most
        else '',
        f'Version {version:g} of the formulas.' if version else '',
    ]
    return ' '.join(sentence for sentence in sentences if sentence)
