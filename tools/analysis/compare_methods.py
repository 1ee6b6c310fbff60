r"""Several configs, each trained for the same minutes with several seeds: k-NN, linear probe, fine-tuning.

    python tools/analysis/compare_methods.py configs/quickstart/mae.py configs/quickstart/cmae.py --minutes 2
    python tools/analysis/compare_methods.py mae=configs/mae/vit-tiny_cifar10.py \
        half=configs/mae/vit-tiny_cifar10.py,minutes=1,model.target.norm_pix=False \
        'continual=configs/vision_electra/vit-tiny_cifar10.py,minutes=1,load_from={half}' \
        --minutes 2 --seeds 0 1 2 --cfg-options data_root=PATH/TO/cifar10 --out work_dirs/comparison
    ... --finetune configs/downstream/classification/vit-tiny_cifar10_finetune.py --finetune-options data_root=CIFAR10

A contender is CONFIG or NAME=CONFIG, with its own options after commas; `minutes` may be one of them. `{NAME}` in an
option is the last checkpoint of that contender, named before it, of the same seed. Each is timed first, on some steps
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
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

TOOLS = osp.dirname(osp.dirname(osp.abspath(__file__)))
sys.path.insert(0, osp.dirname(TOOLS))
EPOCHS = 10  # that the minutes are divided into, or more: no epoch has more images than the data set
STEPS_AN_EPOCH = 4  # at least, as what is left after whole steps is cut
TIMED_STEPS = 40
ACCURACY = 'accuracy/top1'  # of fine-tuning


class Contender(NamedTuple):
    name: str
    config: str
    options: Dict[str, str]
    minutes: float
    after: Tuple[str, ...]  # contenders whose checkpoints it needs


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('contenders', nargs='+', metavar='[NAME=]CONFIG[,KEY=VALUE...]')
    parser.add_argument('--minutes', type=float, default=2.0, help='of training, for each (default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time (default: %(default)s)')
    parser.add_argument('--finetune', metavar='CONFIG', help='also fine-tune with this config')
    parser.add_argument('--finetune-options', nargs='+', default=[], metavar='KEY=VALUE')
    parser.add_argument('--out', default='work_dirs/comparison', help='folder (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='for all contenders')
    args = parser.parse_args()
    if args.minutes <= 0 or args.jobs < 1:
        parser.error('--minutes must be above 0, and --jobs at least 1')
    if len(set(args.seeds)) < len(args.seeds):
        parser.error('a seed is given twice')
    return args


def parse_contenders(texts: List[str], minutes: float) -> List[Contender]:
    """
    Raises:
        ValueError: A text that can't be read, two contenders of one name, or an option that needs the checkpoint of a
            contender that is not named before.
    """
    contenders: List[Contender] = []
    for text in texts:
        first, *rest = text.split(',')
        name, _, config = first.rpartition('=')
        name = name or osp.splitext(osp.basename(config))[0]
        pairs = [part.partition('=') for part in rest]
        if not re.fullmatch(r'[\w.+-]+', name) or not config.endswith('.py') or not all(mid for _, mid, _ in pairs):
            raise ValueError(f'{text!r}: [NAME=]CONFIG.py[,KEY=VALUE...] is needed; NAME of letters, digits and ._+-')
        known = [contender.name for contender in contenders]
        if name in known:
            raise ValueError(f'two contenders are called {name!r}: give them names, as in a={config}')
        options = {key: value for key, _, value in pairs}
        after = tuple(sorted(set(re.findall(r'{([^{}]*)}', ' '.join(options.values())))))
        for other in after:
            if other not in known:
                raise ValueError(f'{name} needs the checkpoint of {other!r}; named before it are: {", ".join(known)}')
        contenders.append(Contender(name, config, options, float(options.pop('minutes', minutes)), after))
    return contenders


class Comparison:
    """Runs and their results below one folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        from mmmim.engine.hardware import usable_cores

        self.args = args
        self.contenders = parse_contenders(args.contenders, args.minutes)
        self.environment = {'OMP_NUM_THREADS': str(max(1, usable_cores() // args.jobs)), **os.environ}

    def folder(self, *parts: Any) -> str:
        return osp.join(self.args.out, *map(str, parts))

    def call(self, tool: str, *words: str, log: str) -> None:
        """
        Raises:
            RuntimeError: It failed; its output is in ``log``.
        """
        os.makedirs(osp.dirname(log), exist_ok=True)
        with open(log, 'a') as file:
            done = subprocess.run(
                [sys.executable, osp.join(TOOLS, tool), *words], stdout=file, stderr=file, env=self.environment
            )
        if done.returncode:
            raise RuntimeError(
                f'{tool} {words[0]} ended with {done.returncode}; what it printed is in {log}. The same '
                'command goes on.'
            )

    def options(self, contender: Contender, paths: Optional[Dict[str, str]] = None) -> List[str]:
        """All of a contender's; without the checkpoints' paths those that name one are left out."""
        return [
            *self.args.cfg_options,
            *(
                f'{key}={value.format(**paths or {})}'
                for key, value in contender.options.items()
                if paths is not None or '{' not in value
            ),
        ]

    def write_config(self, cfg: Any, place: str, seed: int, epochs: int, samples: int) -> None:
        """The config with another length, as ``place``.py."""
        share = (cfg.get('warmup_epochs') or 0) / cfg.max_epochs
        steps = samples // cfg.total_batch_size
        cfg.warmup_epochs = share and max(epochs * share, 2.001 / steps)  # training refuses a warm-up of one step
        cfg.max_epochs, cfg.work_dir = epochs, place
        cfg.train_dataloader.sampler.samples_per_epoch = samples
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
        hooks = {str(hook['type']).rpartition('.')[2]: hook for hook in cfg.get('custom_hooks') or []}
        hooks.pop('KNNHook', None)  # features are measured at the end
        if 'ReconstructionHook' in hooks:
            hooks['ReconstructionHook'].interval = epochs
        cfg.custom_hooks = list(hooks.values())
        cfg.default_hooks.checkpoint.interval = epochs
        os.makedirs(osp.dirname(place), exist_ok=True)
        cfg.dump(f'{place}.py')

    def time(self, contender: Contender) -> None:
        """Train for some steps, once, to see how many images a second it takes."""
        from mmmim.apis.repeat import claim, read_config, start_text
        from mmmim.engine.resume import is_finished

        place, options = self.folder(contender.name, 'timing'), self.options(contender)
        if claim(place, start_text(contender.config, options), '--out'):
            cfg = read_config(contender.config, options)
            self.write_config(cfg, place, 0, *lengths(cfg, TIMED_STEPS * cfg.total_batch_size, 1))
        if not is_finished(place):
            self.call('train.py', f'{place}.py', '--resume', log=f'{place}.log')

    def prepare(self, contender: Contender, place: str, seed: int, options: List[str]) -> None:
        """Write the config of a run as long as its minutes, unless it goes on: then it keeps its length."""
        from mmmim.apis.repeat import claim, read_config, start_text

        if claim(place, start_text(contender.config, options, minutes=contender.minutes), '--out'):
            sessions = read_json(self.folder(contender.name, 'timing', 'run.json'))['sessions']
            cfg = read_config(contender.config, options)
            images = round(60 * contender.minutes * sessions[-1]['images_per_second'])
            self.write_config(cfg, place, seed, *lengths(cfg, images, EPOCHS))

    def run(self, contender: Contender, seed: int, needed: Dict[str, 'Future[Any]']) -> Dict[str, Any]:
        """Train, measure and fine-tune; the row of this seed."""
        from mmmim.engine.resume import is_finished

        paths = {name: future.result()['checkpoint'] for name, future in needed.items()}
        place = self.folder(contender.name, f'seed{seed}')
        self.prepare(contender, place, seed, self.options(contender, paths))
        if not is_finished(place):
            self.call('train.py', f'{place}.py', '--resume', log=f'{place}.log')
        record = read_json(osp.join(place, 'run.json'))
        sessions = record['sessions']
        with open(osp.join(place, 'last_checkpoint')) as file:
            checkpoint = osp.join(place, osp.basename(file.read().strip()))
        row = dict(
            seed=seed,
            checkpoint=checkpoint,
            minutes=sum(session['seconds'] for session in sessions) / 60,
            images=record['max_iters'] * record['batch'] * record['accumulation'] * record['processes'],
            **self.measured(place, checkpoint),
        )
        if self.args.finetune:
            row['finetune'] = self.finetuned(place, checkpoint, seed)
        print(
            f'{contender.name}, seed {seed}: ' + ', '.join(f'{key} {row[key]:.1f}' for key in COLUMNS if key in row),
            flush=True,
        )
        return row

    def measured(self, place: str, checkpoint: str) -> Dict[str, float]:
        """k-NN and linear accuracy in %, and the loss on held-out images."""
        out = osp.join(place, 'measured.json')
        if not osp.exists(out):
            self.call(
                'test.py', f'{place}.py', checkpoint, '--work-dir', place, '--linear', '--out', out, log=f'{place}.log'
            )
        found = read_json(out)
        knn = next((value for key, value in found.items() if key.startswith('knn/')), None)
        numbers = dict(knn=knn, linear=found.get('linear/top1'))
        return {key: value for key, value in numbers.items() if value is not None}

    def finetuned(self, place: str, checkpoint: str, seed: int) -> float:
        """Top-1 accuracy in %, measured after the last iteration."""
        from mmmim.apis.repeat import claim, last_measured, not_measured, start_text
        from mmmim.engine.resume import is_finished

        work_dir = osp.join(place, 'finetune')
        options = [f'pretrained={checkpoint}', f'randomness.seed={seed}', *self.args.finetune_options]
        claim(work_dir, start_text(self.args.finetune, options), '--out')
        if not is_finished(work_dir) or last_measured(work_dir, ACCURACY) is None:
            self.call(
                'train.py',
                self.args.finetune,
                '--work-dir',
                work_dir,
                '--resume',
                '--cfg-options',
                *options,
                log=f'{place}.log',
            )
        accuracy = last_measured(work_dir, ACCURACY)
        if accuracy is None:
            raise RuntimeError(not_measured(work_dir, ACCURACY))
        return accuracy

    def all(self) -> Dict[str, List[Dict[str, Any]]]:
        """The rows of every contender."""
        futures: Dict[Tuple[str, int], 'Future[Any]'] = {}
        with ThreadPoolExecutor(self.args.jobs) as pool:
            list(pool.map(self.time, self.contenders))
            for seed in self.args.seeds:  # what a run needs was handed in before it, so it never waits for ever
                for contender in self.contenders:
                    needed = {name: futures[name, seed] for name in contender.after}
                    futures[contender.name, seed] = pool.submit(self.run, contender, seed, needed)
            try:
                return {
                    contender.name: [futures[contender.name, seed].result() for seed in self.args.seeds]
                    for contender in self.contenders
                }
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def lengths(cfg: Any, images: int, epochs: int) -> Tuple[int, int]:
    """Epochs, not many more than asked for, and the images of each, which make so many images in all.

    Raises:
        ValueError, FileNotFoundError: The config's images are not there.
    """
    from mmmim.config.prepare import set_up_scope
    from mmmim.registry import DATASETS

    set_up_scope(cfg)
    batch = cfg.total_batch_size
    most = len(DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': []}))
    epochs = max(1, min(epochs, images // (STEPS_AN_EPOCH * batch)), math.ceil(images / most))
    return epochs, min(most, max(batch, round(images / epochs)))


COLUMNS = {'minutes': 'minutes', 'knn': 'k-NN', 'linear': 'linear', 'finetune': 'fine-tuned'}


def read_json(path: str) -> Dict[str, Any]:
    with open(path) as file:
        return json.load(file)


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
    from mmmim.checkpoint import atomic_write_text
    from mmmim.engine.hardware import hardware
    from mmmim.engine.launch import USER_ERRORS, end_with

    try:
        comparison = Comparison(args)
        rows = comparison.all()
    except USER_ERRORS as error:
        end_with(error, None)
    except KeyboardInterrupt:
        sys.exit(130)
    record = dict(command=sys.argv, minutes=args.minutes, jobs=args.jobs, hardware=hardware(), rows=rows)
    atomic_write_text(comparison.folder('comparison.json'), json.dumps(record, indent=1))
    atomic_write_text(comparison.folder('comparison.md'), table(rows) + '\n')
    print(table(rows))


if __name__ == '__main__':
    main()
