r"""Does own pre-training beat public weights? The table of docs/benchmarks.md, made anew.

    python tools/benchmarks/compare_starts.py --data PHOTOS --labels LABELS --seeds 0 1 \
        --results tools/benchmarks/results/NAME.jsonl --out work_dirs/starts \
        [--epochs 40 | --hours 0.2] [--cfg-options KEY=VALUE ...]
    python tools/benchmarks/compare_starts.py --results tools/benchmarks/results/NAME.jsonl [--picture labels.png]

For each seed two encoders are pre-trained, from pixels and with the features of `--public` as the target
(`mmmim.pretrain`), and judged frozen, beside `--public` itself and random weights, by the same labelled images
(`mmmim.compare`). Each measurement is a line of `--results`, whose table is printed; the second form does nothing else.
The same command goes on where it was stopped: a seed whose four lines are there is left out, and a run that is finished
is not trained again. Other data or settings need another `--results` and `--out`.
"""

import argparse
import io
import json
import os
import os.path as osp
from statistics import mean
from typing import Any, Dict, List, Optional, Sequence

from matplotlib.figure import Figure
from mmengine.config import DictAction

import mmmim
from mmmim.apis.compare import FEW
from mmmim.checkpoint import atomic_write_bytes, atomic_write_text
from mmmim.engine.hardware import hardware
from script import errors_in_one_line, make_parser

PUBLIC, TARGET, PIXELS, RANDOM = 'public', 'target', 'pixels', 'random'
TITLES = {
    PUBLIC: '{public}, frozen as it is',
    TARGET: 'own pre-training, target: features of {public}',
    PIXELS: 'own pre-training, pixels (the default)',
    RANDOM: 'random weights',
}
COLOURS = {PUBLIC: '#1f5fb4', TARGET: '#0f7a5a', PIXELS: '#c2410c', RANDOM: '#4b5563'}
MEASURES = {'linear': 'linear, all labels', 'linear_25': f'{FEW} a class', 'knn': 'k-NN'}
SETTINGS = ('data', 'labels', 'public', 'epochs', 'hours', 'overrides')
Line = Dict[str, Any]


def make_arguments() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument('--results', required=True, metavar='FILE.jsonl', help='a line a measurement')
    parser.add_argument('--data', metavar='PHOTOS', help='images to pre-train on; without them nothing is measured')
    parser.add_argument('--labels', metavar='CSV|FOLDER', help='labelled images, as of mmmim compare (default: --data)')
    parser.add_argument('--public', default='efficientnet-lite0', help='as --model of mmmim (default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--epochs', type=int)
    parser.add_argument('--hours', type=float, help='of each pre-training, in place of --epochs')
    parser.add_argument('--out', default='work_dirs/starts', help='folder of the runs (default: %(default)s)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE', help='of both pre-trainings'
    )
    parser.add_argument('--picture', metavar='FILE.png', help='also draw accuracy over the number of labels')
    return parser


def read_lines(path: str) -> List[Line]:
    """
    Raises:
        ValueError: A line that is no JSON object.
    """
    if not osp.isfile(path):
        return []
    with open(path, encoding='utf-8') as file:
        lines = [json.loads(text) for text in file if text.strip()]
    if not all(isinstance(line, dict) and {'start', 'seed'} <= set(line) for line in lines):
        raise ValueError(f'{path}: a JSON object a line is needed, as this script writes them')
    return lines


def measure(args: argparse.Namespace) -> None:
    """Fill in the seeds that the results lack.

    Raises:
        ValueError: The results are of other data or settings.
    """
    asked = dict(data=args.data, labels=args.labels or args.data, public=args.public, epochs=args.epochs)
    asked.update(hours=args.hours, overrides=args.cfg_options)
    for seed in args.seeds:
        lines = read_lines(args.results)
        check_same(lines, asked, args.results)
        if {PUBLIC, TARGET, PIXELS, RANDOM} <= {line['start'] for line in lines if line['seed'] == seed}:
            continue
        new = of_seed(asked, seed, args.out)
        kept = [line for line in lines if line['seed'] != seed]
        os.makedirs(osp.dirname(osp.abspath(args.results)), exist_ok=True)
        atomic_write_text(args.results, ''.join(json.dumps(line) + '\n' for line in [*kept, *new]))


def check_same(lines: Sequence[Line], asked: Dict[str, Any], path: str) -> None:
    for line in lines:
        different = [key for key in SETTINGS if line.get(key) != asked[key]]
        if different:
            raise ValueError(
                f'{path} holds results with {different[0]}={line.get(different[0])!r}, and this call has '
                f'{asked[different[0]]!r}: give another --results, and another --out'
            )


def of_seed(asked: Dict[str, Any], seed: int, out: str) -> List[Line]:
    """Pre-train twice and compare: a line a start."""
    folders = {kind: osp.join(out, f'{kind}-{seed}') for kind in (PIXELS, TARGET)}
    for kind, folder in folders.items():
        mmmim.pretrain(
            asked['data'],
            folder,
            epochs=asked['epochs'],
            hours=asked['hours'],
            target=asked['public'] if kind == TARGET else None,
            labels=asked['labels'],
            compare='none',
            seed=seed,
            **asked['overrides'],
        )
    starts = [RANDOM, asked['public']]
    found = mmmim.compare(list(folders.values()), starts, labels=asked['labels'], out=osp.join(out, f'seed-{seed}'))
    lines = []
    for row in found.rows:
        own = {osp.abspath(folder): kind for kind, folder in folders.items()}.get(osp.abspath(str(row['name'])))
        start = own or (RANDOM if row['kind'] == RANDOM else PUBLIC)
        numbers = {key: value for key, value in row.items() if key.startswith(tuple(MEASURES))}
        lines.append(dict(start=start, seed=seed, **numbers, **asked, counts=found.counts, when=found.when))
        lines[-1]['hardware'] = hardware()
    return lines


def values(lines: Sequence[Line], start: str, measure: str) -> List[float]:
    """Of all seeds, in their order; none where it was not measured."""
    own = sorted((line for line in lines if line['start'] == start), key=lambda line: line['seed'])
    return [line[measure] for line in own if line.get(measure) is not None]


def table(lines: Sequence[Line]) -> str:
    """In Markdown; seeds stand apart by commas, and once where all are equal."""
    rows = [['frozen features', *MEASURES.values()], ['---'] * (1 + len(MEASURES))]
    for start, title in TITLES.items():
        cells = []
        for key in MEASURES:
            texts = [f'{value:.1f}' for value in values(lines, start, key)]
            cells.append(', '.join(texts if len(set(texts)) > 1 else texts[:1]) or '-')
        if any(cell != '-' for cell in cells):
            rows.append([title.format(public=lines[0].get('public')), *cells])
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def draw(lines: Sequence[Line], path: str) -> None:
    """Accuracy of the linear probe over the number of labels: the mean of the seeds as a line, each seed as a point."""
    counts = lines[0].get('counts') or {}
    labels = [FEW * counts.get('classes', 1), counts.get('fit', 100 * FEW)]
    figure = Figure((6.2, 3.4), dpi=100, layout='constrained')
    axes = figure.subplots()
    for start, title in TITLES.items():
        found = [values(lines, start, key) for key in ('linear_25', 'linear')]
        if not all(found):
            continue
        colour, name = COLOURS[start], title.format(public=lines[0].get('public'))
        axes.plot(labels, [mean(each) for each in found], color=colour, label=name)
        for x, each in zip(labels, found):
            axes.plot([x] * len(each), each, 'o', color=colour, markersize=4)
    axes.set_xscale('log')
    axes.set_xticks(labels, [f'{FEW} a class', f'{labels[1]:,} (all)'])
    axes.minorticks_off()
    axes.set(xlabel='labels', ylabel='top-1 accuracy, %', ylim=(0, 100))
    axes.grid(axis='y', color='#dddddd')
    axes.legend(fontsize=8, loc='lower right')
    stream = io.BytesIO()
    figure.savefig(stream, format='png', metadata={'Software': None})
    os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
    atomic_write_bytes(stream.getvalue(), path)


def main(words: Optional[List[str]] = None) -> None:
    parser = make_arguments()
    args = parser.parse_args(words)
    with errors_in_one_line():
        if args.data:
            measure(args)
        lines = read_lines(args.results)
        if not lines:
            parser.error(f'{args.results} holds no results yet: give --data, and --labels')
        print(table(lines))
        if args.picture:
            draw(lines, args.picture)


if __name__ == '__main__':
    main()
