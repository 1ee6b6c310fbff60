r"""Several configs, each trained for the same minutes with several seeds: k-NN, linear probe, fine-tuning.

    python tools/benchmarks/compare_methods.py configs/quickstart/mae.py configs/quickstart/cmae.py --minutes 2
    python tools/benchmarks/compare_methods.py mae=configs/mae/vit-tiny_cifar10.py \
        half=configs/mae/vit-tiny_cifar10.py,minutes=1,model.target.norm_pix=False \
        'continual=configs/vision_electra/vit-tiny_cifar10.py,minutes=1,load_from={half}' \
        --minutes 2 --seeds 0 1 2 --cfg-options data_root=PATH/TO/cifar10 --out work_dirs/comparison
    ... --finetune configs/downstream/classification/vit-tiny_cifar10_finetune.py --finetune-options data_root=CIFAR10

A method is CONFIG or NAME=CONFIG, with its own options after commas; `minutes` may be one of them. `{NAME}` in an
option is the last checkpoint of that method, named before it, of the same seed. Each is timed first, on some steps
of training, which say how many images the minutes are; warm-up and schedule are shortened in proportion. What a run
really took stands in the table.

`--jobs N` runs N at a time, each with its share of the cores (or OMP_NUM_THREADS threads): a small model uses them
better. Nothing else should run meanwhile. What was stopped goes on by the same command; runs that are done are not
repeated. Other minutes, options or configs need another OUT. The numbers of every seed are in OUT/comparison.json,
means and standard deviations in OUT/comparison.md, the runs below OUT/NAME/seedN.
"""

import argparse
import json
import math
import os
import os.path as osp
import re
import statistics
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, List, NamedTuple, Tuple

from mmmim.checkpoint import atomic_write_text
from mmmim.checkpoint.newest import newest_checkpoint
from mmmim.config.prepare import set_up_scope
from mmmim.engine.hardware import hardware, usable_cores
from mmmim.engine.resume import is_finished
from mmmim.registry import DATASETS
from script import at_least, errors_in_one_line, make_parser
from started_runs import claim, final_accuracy, read_config, read_json, start_text

TOOLS = osp.dirname(osp.dirname(osp.abspath(__file__)))
EPOCHS = 10  # that the minutes are divided into, or more: no epoch has more images than the data set
STEPS_AN_EPOCH = 4  # at least, as what is left after whole steps is cut
TIMED_STEPS = 40
COLUMNS = {'minutes': 'minutes', 'knn': 'k-NN', 'linear': 'linear', 'finetune': 'fine-tuned'}
Row = Dict[str, Any]  # what was measured of one seed


class Method(NamedTuple):
    name: str
    config: str
    options: List[str]
    minutes: float

    @property
    def starts(self) -> List[str]:
        """The methods whose checkpoints its options name."""
        return re.findall(r'{([^{}]*)}', ' '.join(self.options))


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('methods', nargs='+', metavar='[NAME=]CONFIG[,KEY=VALUE...]')
    parser.add_argument('--minutes', type=float, default=2.0, help='of training, for each (default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--jobs', type=at_least(1), default=1, help='runs at a time (default: %(default)s)')
    parser.add_argument('--finetune', metavar='CONFIG', help='also fine-tune with this config')
    parser.add_argument('--finetune-options', nargs='+', default=[], metavar='KEY=VALUE')
    parser.add_argument('--out', default='work_dirs/comparison', help='folder (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='for all methods')
    args = parser.parse_args()
    if args.minutes <= 0:
        parser.error('--minutes must be above 0')
    if len(set(args.seeds)) < len(args.seeds):
        parser.error('a seed is given twice')
    return args


def parse_methods(texts: List[str], minutes: float) -> List[Method]:
    """
    Raises:
        ValueError: A text that can't be read, two methods of one name, or an option that needs the checkpoint of a
            method that is not named before.
    """
    methods: Dict[str, Method] = {}
    for text in texts:
        first, *options = text.split(',')
        name, _, config = first.rpartition('=')
        name = name or osp.splitext(osp.basename(config))[0]
        if not (re.fullmatch(r'[\w.+-]+', name) and config.endswith('.py') and all('=' in it for it in options)):
            raise ValueError(f'{text!r}: [NAME=]CONFIG.py[,KEY=VALUE...] is needed; NAME of letters, digits and ._+-')
        if name in methods:
            raise ValueError(f'two methods are called {name!r}: give them names, as in a={config}')
        settings = dict(option.split('=', 1) for option in options)
        own_minutes = float(settings.pop('minutes', minutes))
        method = Method(name, config, [f'{key}={value}' for key, value in settings.items()], own_minutes)
        for other in method.starts:
            if other not in methods:
                raise ValueError(f'{name} needs the checkpoint of {other!r}; named before it are: {", ".join(methods)}')
        methods[name] = method
    return list(methods.values())


class Comparison:
    """Runs and their results below one folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.methods = parse_methods(args.methods, args.minutes)
        self.environment = {'OMP_NUM_THREADS': str(max(1, usable_cores() // args.jobs)), **os.environ}

    def call(self, tool: str, *words: str, log: str) -> None:
        """
        Raises:
            RuntimeError: It failed; its output is in ``log``.
        """
        os.makedirs(osp.dirname(log), exist_ok=True)
        command = [sys.executable, osp.join(TOOLS, tool), *words]
        with open(log, 'a') as file:
            done = subprocess.run(command, stdout=file, stderr=file, env=self.environment)
        if done.returncode:
            raise RuntimeError(
                f'{tool} {words[0]} ended with {done.returncode}; what it printed is in {log}. The same '
                'command goes on.'
            )

    def write_config(self, cfg: Any, place: str, seed: int, epochs: int, samples: int) -> None:
        """The config with another length, as ``place``.py."""
        share = (cfg.get('warmup_epochs') or 0) / cfg.max_epochs
        steps = samples // cfg.total_batch_size
        cfg.warmup_epochs = share and max(epochs * share, 2.001 / steps)  # training refuses a warm-up of one step
        cfg.max_epochs, cfg.work_dir = epochs, place
        cfg.train_dataloader.sampler.samples_per_epoch = samples
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
        hooks = {str(hook['type']).rpartition('.')[2]: hook for hook in cfg.get('custom_hooks') or []}
        for name in ('KNNHook', 'HealthHook'):  # features are measured at the end
            hooks.pop(name, None)
        if 'ReconstructionHook' in hooks:
            hooks['ReconstructionHook'].interval = epochs
        cfg.custom_hooks = list(hooks.values())
        cfg.default_hooks.checkpoint.interval = epochs
        os.makedirs(osp.dirname(place), exist_ok=True)
        cfg.dump(f'{place}.py')

    def train(self, method: Method, place: str, options: List[str], seed: int = 0, rate: float = 0.0) -> Dict[str, Any]:
        """Train for the method's minutes, at so many images a second; where that is not known, for some steps.

        A run that goes on keeps its length.

        Returns:
            The record of the run.
        """
        start = start_text(method.config, options, **(dict(minutes=method.minutes) if rate else {}))
        if claim(place, start, '--out'):
            cfg = read_config(method.config, options)
            images = round(60 * method.minutes * rate) if rate else TIMED_STEPS * cfg.total_batch_size
            self.write_config(cfg, place, seed, *lengths(cfg, images, EPOCHS if rate else 1))
        if not is_finished(place):
            self.call('train.py', f'{place}.py', '--resume', log=f'{place}.log')
        return read_json(osp.join(place, 'run.json'))

    def images_per_second(self, method: Method) -> float:
        """Measured once, on some steps of training; they start from no other method's checkpoint."""
        options = [*self.args.cfg_options, *(option for option in method.options if '{' not in option)]
        record = self.train(method, osp.join(self.args.out, method.name, 'timing'), options)
        return record['sessions'][-1]['images_per_second']

    def run(self, method: Method, seed: int, rate: float, needed: Dict[str, 'Future[Row]']) -> Row:
        """Train, measure and fine-tune; the row of this seed."""
        checkpoints = {name: future.result()['checkpoint'] for name, future in needed.items()}
        place = osp.join(self.args.out, method.name, f'seed{seed}')
        options = [*self.args.cfg_options, *(option.format(**checkpoints) for option in method.options)]
        record = self.train(method, place, options, seed, rate)
        checkpoint = newest_checkpoint(place)
        row = dict(
            seed=seed,
            checkpoint=checkpoint,
            minutes=sum(session['seconds'] for session in record['sessions']) / 60,
            images=record['max_iters'] * record['batch'] * record['accumulation'] * record['processes'],
            **self.measured(place, checkpoint),
        )
        if self.args.finetune:
            row['finetune'] = self.finetuned(place, checkpoint, seed)
        numbers = ', '.join(f'{key} {row[key]:.1f}' for key in COLUMNS if key in row)
        print(f'{method.name}, seed {seed}: {numbers}', flush=True)
        return row

    def measured(self, place: str, checkpoint: str) -> Dict[str, float]:
        """k-NN and linear accuracy in %, and the loss on held-out images."""
        out = osp.join(place, 'measured.json')
        if not osp.exists(out):
            words = ['test.py', f'{place}.py', checkpoint, '--work-dir', place, '--linear', '--out', out]
            self.call(*words, log=f'{place}.log')
        found = read_json(out)
        knn = next((value for key, value in found.items() if key.startswith('knn/')), None)
        numbers = dict(knn=knn, linear=found.get('linear/top1'))
        return {key: value for key, value in numbers.items() if value is not None}

    def finetuned(self, place: str, checkpoint: str, seed: int) -> float:
        """Top-1 accuracy in %, measured after the last iteration."""
        work_dir = osp.join(place, 'finetune')
        options = [f'pretrained={checkpoint}', f'randomness.seed={seed}', *self.args.finetune_options]
        claim(work_dir, start_text(self.args.finetune, options), '--out')
        words = ['train.py', self.args.finetune, '--work-dir', work_dir, '--resume', '--cfg-options', *options]
        return final_accuracy(work_dir, lambda: self.call(*words, log=f'{place}.log'))

    def all(self) -> Dict[str, List[Row]]:
        """The rows of every method."""
        futures: Dict[Tuple[str, int], 'Future[Row]'] = {}
        with ThreadPoolExecutor(self.args.jobs) as pool:
            rates = list(pool.map(self.images_per_second, self.methods))
            for seed in self.args.seeds:  # what a run needs was handed in before it, so it never waits for ever
                for method, rate in zip(self.methods, rates):
                    needed = {name: futures[name, seed] for name in method.starts}
                    futures[method.name, seed] = pool.submit(self.run, method, seed, rate, needed)
            try:
                return {
                    method.name: [futures[method.name, seed].result() for seed in self.args.seeds]
                    for method in self.methods
                }
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def lengths(cfg: Any, images: int, epochs: int) -> Tuple[int, int]:
    """Epochs, not many more than asked for, and the images of each, which make so many images in all.

    Raises:
        ValueError, FileNotFoundError: The config's images are not there.
    """
    set_up_scope(cfg)
    batch = cfg.total_batch_size
    most = len(DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': []}))
    epochs = max(1, min(epochs, images // (STEPS_AN_EPOCH * batch)), math.ceil(images / most))
    return epochs, min(most, max(batch, round(images / epochs)))


def table(rows: Dict[str, List[Dict[str, Any]]]) -> str:
    """Means and standard deviations over seeds, in Markdown."""
    columns = {key: title for key, title in COLUMNS.items() if all(key in row for own in rows.values() for row in own)}
    lines = [['method', 'images seen', *columns.values()], ['---'] * (2 + len(columns))]
    for name, own in rows.items():
        images = statistics.mean(row['images'] for row in own)
        lines.append([name, f'{images:,.0f}', *(spread([row[key] for row in own]) for key in columns)])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def spread(values: List[float]) -> str:
    mean = f'{statistics.mean(values):.1f}'
    return mean if len(values) == 1 else f'{mean} ± {statistics.stdev(values):.1f}'


def main() -> None:
    args = parse_args()
    with errors_in_one_line():
        rows = Comparison(args).all()
    record = dict(command=sys.argv, minutes=args.minutes, jobs=args.jobs, hardware=hardware(), rows=rows)
    atomic_write_text(osp.join(args.out, 'comparison.json'), json.dumps(record, indent=1))
    atomic_write_text(osp.join(args.out, 'comparison.md'), table(rows) + '\n')
    print(table(rows))


if __name__ == '__main__':
    main()
