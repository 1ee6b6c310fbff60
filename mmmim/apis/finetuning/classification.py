"""Fine-tuning for classification: the number to beat first, then training, each stage kept only if it is better."""

import os.path as osp
import time
from dataclasses import replace
from typing import Any, Dict, List, Optional

from ...config.paths import relative_to_here
from ...evaluation.label_metrics import MAP, Measured
from ..compare import trained_on
from ..label_split import Pair
from ..trained import CLASSIFICATION, CONFIG, MODEL
from .frozen_head import FrozenHead, fit_head
from .labels import Labels, find_labels, write_lists
from .outputs import Backbone, Outputs, readable
from .page import write_mistakes, write_page
from .recipe import Plan
from .request import FineTuned, Request, Results, Stage
from .several_runs import check_others, compare_starts, mean_over_seeds, named_start, own_classes, table_lines
from .stages import FOLDERS, FROZEN, FULL, LAST, keep, kept_already, save_frozen, train_stage
from .start import ClassifierStart, open_classifier_start


def run(request: Request) -> FineTuned:
    """Fine-tune for classification; see :func:`mmmim.finetune`."""
    before = Results.read(request.out)
    if before is not None and before.finished and osp.isfile(osp.join(request.out, MODEL)):
        find_labels(request)  # refuses labels that have changed
        print(f'{relative_to_here(request.out)} holds this, finished: nothing is done again')
        return _said(request, before)
    if request.compare not in (None, 'none'):
        check_others(request, before)
    results = one_run(request, request.out)
    if request.seeds > 1:
        mean_over_seeds(request, results, one_run)
    if request.compare not in (None, 'none'):
        compare_starts(request, results, one_run)
    results.finished = True
    results.write(request.out)
    return _said(request, results)


def _said(request: Request, results: Results) -> FineTuned:
    report = write_page(request.out, results)
    print(*told(results), *table_lines(results.table), f'report: {relative_to_here(report)}', sep='\n')
    paths = [osp.join(request.out, name) for name in (CONFIG, MODEL)]
    return FineTuned(request.out, CLASSIFICATION, paths[0], paths[1], results, report)


def one_run(request: Request, out: str, draw: int = 0) -> Results:
    """All stages of one start and one draw of labels; those that were finished before are not done again.

    Args:
        request: What was asked for.
        out: Folder of this run.
        draw: Number of the draw, and what is added to the seed.
    """
    request = replace(request, out=out)
    labels = find_labels(request, draw)
    results = Results.read(out) or Results(CLASSIFICATION)
    start, said = open_classifier_start(named_start(request, results), request.image_size, request.like)
    for line in said:
        print(line)
    if not results.stages:
        results.start, results.notes = start.facts(), [*labels.notes, *_seen(start, labels)]
        results.counts = labels.split.counts
        print(*results.notes, sep='\n', flush=True)
    own_classes(results)
    if request.overrides:
        Plan(request, start, labels, {}, 0).check()
    job = _Job(request, out, labels, start, draw, results)
    job.frozen()
    if not request.quick and labels.split.selection:
        for name in (LAST, FULL):
            job.train(name)
    elif not request.quick and not any('Training' in note for note in results.notes):
        results.notes.append('Training beyond the frozen features is left out: no image is left to choose by.')
    results.write(out)
    return results


def _seen(start: ClassifierStart, labels: Labels) -> List[str]:
    """A warning where pre-training has seen images that measure."""
    if not start.run:
        return []
    split = labels.split if labels.split.report else replace(labels.split, report=labels.split.fit)
    seen = split.seen_in(trained_on(start.run))
    labels.split.seen = split.seen
    return [f'WARNING: {seen.note}; a number without them: pre-train with --leave-out.'] if seen.note else []


class _Job:
    """The stages of one run."""

    def __init__(
        self, request: Request, out: str, labels: Labels, start: ClassifierStart, draw: int, results: Results
    ) -> None:
        self.request, self.out, self.labels, self.start, self.results = request, out, labels, start, results
        self.seed = (request.seed or 0) + draw
        self.files = [file for file, _ in labels.split.images()]
        self.plan = Plan(request, start, labels, {}, self.seed)

    def frozen(self) -> None:
        """Frozen features and logistic regression: the number to beat."""
        began = time.perf_counter()
        output = self._head(self.start)
        best = output
        if self.start.layer is not None:
            cut = self._head(self.start.cut(self.start.layer))
            metric = self.labels.metric
            best = max(cut, output, key=lambda head: head.selection.values[metric])
            note = f'Features of layer {self.start.layer}' if best is cut else 'Features of the output'
            self._note(f'{note} are better on the images that choose.')
        self.labels.split.write(self.out)  # not before the images were read: a folder in which nothing began is free
        done = self._stage(FROZEN)
        if done is not None and kept_already(self.out, FROZEN):
            self._keep()
            return
        save_frozen(best, output, self.plan, self.out)
        stage = Stage(FROZEN, self.labels.metric, kept=True, seconds=round(time.perf_counter() - began, 1))
        stage.work_dir = FROZEN
        if best.crossed:
            stage.note = f'by cross-validation over all {len(self.labels.split.fit)} images'
            stage.note += '; the layer was chosen by the same images' if self.start.layer is not None else ''
        self._add(stage, best.selection, best.report)
        print(f'the number to beat: {in_words(stage)}', flush=True)

    def _head(self, start: ClassifierStart) -> FrozenHead:
        plan = self.plan._replace(start=start)
        found = Outputs(f'frozen features of {start.name}', Backbone(start), start, plan.test_pipeline()).of(self.files)
        self.good, lost = readable(found, self.files)
        if lost:
            self._note(f'{len(lost)} images cannot be read and are left out, such as {lost[0]}.')
        lists = write_lists(self.labels, self.out, self.good, self.request.balance)
        self.plan = self.plan._replace(lists=lists)
        return fit_head(start, self.labels, found, self.files, self.request.balance)

    def train(self, name: str) -> None:
        """A stage of training; kept if it is better on the selection images."""
        if self._stage(name) is not None and kept_already(self.out, name):
            self._keep()
            return
        trained = train_stage(self.plan, self.out, name, self.good)
        value = trained.selection.values[self.labels.metric]
        best = next(stage for stage in self.results.stages if stage.kept)
        better = best.selection is None or value > best.selection
        trained.stage.note = (
            f'{"kept" if better else "not kept"}: {value:.1f} against {best.selection:.1f} of {best.name} '
        )
        trained.stage.note += f'on the {len(self.labels.split.selection)} images that choose'
        if better:
            best.kept, trained.stage.kept = False, True
        self._add(trained.stage, trained.selection, trained.report)
        print(in_words(trained.stage), flush=True)

    def _add(self, stage: Stage, selection: Measured, report: Optional[Measured]) -> None:
        """A finished stage: its numbers are written after its model."""
        metric = self.labels.metric
        stage.selection = selection.values[metric]
        if report is not None:
            stage.report, stage.interval = report.values[metric], report.intervals[metric]
            stage.measures = {key: value for key, value in report.values.items() if key != metric}
        self.results.stages = [old for old in self.results.stages if old.name != stage.name] + [stage]
        if stage.kept:
            self.results.per_class = self._per_class(report)
            folder = osp.join(self.out, FOLDERS[stage.name])
            write_mistakes(folder, self._reported(), self.labels.split.classes, report)
        self._keep()
        self.results.write(self.out)

    def _keep(self) -> None:
        kept = next((stage for stage in self.results.stages if stage.kept), None)
        if kept is not None:
            keep(self.out, kept.name)

    def _reported(self) -> List[Pair]:
        good = set(self.good)
        return [pair for pair in self.labels.split.report or self.labels.split.fit if pair[0] in good]

    def _per_class(self, report: Optional[Measured]) -> List[Dict[str, Any]]:
        names, fit = self.labels.split.classes, self.labels.per_class(self.labels.split.fit)
        rows = [dict(name=name, images=count) for name, count in zip(names, fit)]
        for row, found in zip(rows, report.per_class if report is not None else ()):
            row.update(report=found['images'], **{key: value for key, value in found.items() if key != 'images'})
        return rows

    def _stage(self, name: str) -> Optional[Stage]:
        return next((stage for stage in self.results.stages if stage.name == name), None)

    def _note(self, text: str) -> None:
        if text not in self.results.notes:
            self.results.notes.append(text)
            print(text, flush=True)


def in_words(stage: Stage) -> str:
    """One line of a stage."""
    name = 'frozen features and logistic regression' if stage.name == FROZEN else stage.name
    if stage.report is None:
        return f'{name}: {stage.selection:.1f}% {stage.metric} of the images that choose' if stage.selection else name
    low, high = stage.interval or (stage.report, stage.report)
    others = ''.join(f', {key} {value:.1f}%' for key, value in stage.measures.items())
    ending = f' ({stage.note})' if stage.note else ''
    return f'{name}: {stage.report:.1f}% {stage.metric} (95% interval {low:.1f} to {high:.1f}){others}{ending}'


def told(results: Results) -> List[str]:
    """The result, as lines."""
    lines = [f'{"* " if stage.kept else "  "}{in_words(stage)}' for stage in results.stages]
    if results.per_class and len(results.per_class) <= 50:
        key = 'AP' if results.stages[0].metric == MAP else 'recall'
        shown = [f'{row["name"]} {row[key]:.0f}' for row in results.per_class if row.get(key) is not None]
        lines.append(f'  {key} of the kept model, percent: {", ".join(shown)}')
    return lines
