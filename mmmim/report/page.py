"""HTML report of one or more runs, one file that needs nothing else: settings, curves, results, next steps."""

import os
import os.path as osp
from datetime import datetime
from typing import Any, Dict, List, Optional, Sequence

from markupsafe import Markup

from ..checkpoint import atomic_write_text
from ..version import __version__
from . import health, judge, summary, tables, tasks
from .charts import COLOURS
from .commands import next_steps
from .curves import by_epoch, curves, knn_curves
from .pictures import pictures
from .run_data import RunData, load_runs, mapping
from .templates import FOLDER, render


def write_report(dirs: Sequence[str], out: Optional[str] = None, title: Optional[str] = None) -> str:
    """Write the report of some work dirs, at most a few MB of HTML without outside links.

    Args:
        dirs: Work dirs of runs; several are shown side by side. Dense tasks below one (``segmentation/random``,
            ``segmentation/pretrained``, the same in ``detection``) become sections. What a work dir lacks, or holds
            broken, is named in the page.
        out: The file, or a folder for a ``report.html``. None: in the work dir of a single run, else in the current
            folder.
        title: Of the page; None: the names of the runs.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: A folder that is no work dir.
        CheckpointWriteError: The file cannot be written.
    """
    if isinstance(dirs, (str, os.PathLike)):
        dirs = [dirs]
    if not dirs:
        raise ValueError('a report needs at least one work dir')
    runs = load_runs([os.fspath(path) for path in dirs])
    out = os.fspath(out) if out else (runs[0].path if len(runs) == 1 else '.')
    path = osp.join(out, 'report.html') if osp.isdir(out) or out.endswith(os.sep) else out
    atomic_write_text(path, build_page(runs, title))
    return path


def build_page(runs: Sequence[RunData], title: Optional[str] = None) -> str:
    """The whole page as text."""
    several = len(runs) > 1
    shown = pictures(runs)  # first, as the tasks: what cannot be read is noted
    dense = [tasks.load_tasks(run) for run in runs]
    different, more_different = tables.difference_table(runs)
    settings = [tables.settings(run) for run in runs]
    speed = [tables.throughput(run) for run in runs]
    values = dict(
        title=title or (' · '.join(run.name for run in runs) if len(runs) <= 3 else f'{len(runs)} runs'),
        style=Markup((FOLDER / 'report.css').read_text(encoding='utf-8')),
        made=f'{datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by mmmim {__version__}',
        several=several,
        colours=COLOURS,
        runs=[_about(slot, run, found) for slot, (run, found) in enumerate(zip(runs, dense))],
        pictures=shown,
        comparison=tables.comparison_table(runs) if several else None,
        tasks=tasks.sections(runs, dense),
        knn=knn_curves(runs),
        health_charts=health.charts(runs, by_epoch(runs)),
        curves=curves(runs),
        different=different,
        more_different=more_different,
        settings=tables.side_by_side(runs, settings, 'Settings', mark=True),
        speed=tables.side_by_side(runs, speed, 'Speed and hardware'),
    )
    notes = [f'{run.name}: {note}' if several else note for run in runs for note in run.notes]
    return render('page.html.j2', notes=list(dict.fromkeys(notes)), **values)


def _about(slot: int, run: RunData, dense: List[tasks.Task]) -> Dict[str, Any]:
    """What the page says of one run."""
    return dict(
        slot=slot,
        run=run,
        folder=osp.abspath(run.path),
        results=[summary.result(run), *map(tasks.result, dense)],
        state=summary.capitalised(summary.state(run)),
        broken_off=_broken_off(run),
        start=judge.start(run),
        kept=judge.kept(run),
        health=health.health(run),
        judged=judge.judged(run),
        labels=judge.labels(run),
        candidates=judge.candidates(run),
        measurements=tables.probe_table(run),
        steps=next_steps(run),
        files=tables.files_table(run),
        bad_images=tables.bad_images_table(run),
    )


def _broken_off(run: RunData) -> Optional[Dict[str, Any]]:
    """Where a loss was not finite, unless the run has gone past it since."""
    step = run.non_finite.get('iter')
    if not run.non_finite or (isinstance(step, int) and run.curve.last_iter > step):
        return None
    losses = mapping(run.non_finite.get('values'))
    return dict(step=step, losses=', '.join(f'{name} {value}' for name, value in losses.items()))
