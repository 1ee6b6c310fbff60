"""How to go on from a work dir: commands and snippets that fit this run."""

import argparse
import json
import os.path as osp
import shlex
from typing import List, NamedTuple, Optional, Sequence, Tuple

from ..checkpoint.newest import newest_checkpoint
from ..config.paths import command as command_here
from .run_curve import number
from .run_data import RunData, mapping, text


class Step(NamedTuple):
    """Something to do next: what for, the lines to copy, what else to know."""

    title: str
    lines: str
    note: str = ''


class Command(NamedTuple):
    """A command line of tools/train.py taken apart."""

    start: List[str]  # up to the config
    work_dir: Optional[str]
    overrides: List[str]  # key=value
    others: Sequence[str] = ()  # options that stay as they are

    def resumed(self) -> str:
        """The command that goes on."""
        return self._join(self.work_dir, ['--resume'], self.overrides)

    def longer(self, key: str, length: int, work_dir: str) -> str:
        """The command of a new run, in another work dir, of another length: ``max_epochs`` or ``max_iters``."""
        kept = [override for override in self.overrides if not override.startswith(f'{key}=')]
        return self._join(work_dir, [], [*kept, f'{key}={length}'])

    def _join(self, work_dir: Optional[str], more: List[str], overrides: List[str]) -> str:
        place = ['--work-dir', work_dir] if work_dir else []
        return _command([*self.start, *self.others, *place, *more], overrides)


def _command(words: List[str], overrides: List[str]) -> str:
    return shlex.join([*words, *(['--cfg-options', *overrides] if overrides else [])])


# tools/train.py's options, and what launchers add; none needs a value, since a record may be broken
_OPTIONS = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
_OPTIONS.add_argument('--cfg-options', nargs='*', default=[])
for names in (['--work-dir'], ['--resume'], ['--launcher'], ['--local-rank', '--local_rank']):
    _OPTIONS.add_argument(*names, nargs='?')
_OPTIONS.add_argument('--epochs', nargs='?')
for name in ('--anew', '--stretch'):
    _OPTIONS.add_argument(name, action='store_true')


def next_steps(run: RunData) -> List[Step]:
    """What one may want to do with this run, in the order of likelihood."""
    command, checkpoint = training_command(run), newest_checkpoint(run.path)
    steps = [_go_on(run, command, checkpoint)]
    if checkpoint:
        steps += [
            _train_longer(run, command),
            _test(run, command, checkpoint),
            _fine_tune(run, checkpoint),
            _predict(run, checkpoint),
        ]
    encoder = run.file('encoder.safetensors')
    snippet = timm_snippet(encoder) if encoder else ''
    if snippet:
        steps.append(Step('Use the encoder in timm', snippet, 'torch, timm and safetensors are all that it needs.'))
    return [step for step in steps if step]


def _go_on(run: RunData, command: Optional[Command], checkpoint: Optional[str]) -> Optional[Step]:
    if command and not checkpoint:
        return Step('Start again', command.resumed(), 'There is no checkpoint in the work dir yet.')
    if command and run.record.get('finished') is not True:
        return Step('Continue', command.resumed(), '' if run.dense else 'Bit-identical to a run that was not stopped.')
    return None


def _train_longer(run: RunData, command: Optional[Command]) -> Optional[Step]:
    key, unit = ('max_iters', 'iterations') if run.by_iters else ('max_epochs', 'epochs')
    length = number(run.record.get(key)) or number(run.config.get(key))
    if not command or not length:
        return None
    return Step(
        f'Train longer: {4 * length:g} {unit}',
        command.longer(key, int(4 * length), f'{run.path}_longer'),
        'A new run: the learning rate of a finished one has come down to nothing.',
    )


def training_command(run: RunData) -> Optional[Command]:
    """The command that trained, from ``run.json``; where something else did, one that runs the config here."""
    start, words = _recorded(run)
    if start:
        return _train_command(run, start, words)
    written = osp.basename(text(run.record.get('source')))  # better than the dumped one: it still has its comments
    config = written if run.file(written) else run.config_name
    if not config.endswith('.py'):
        return None
    return Command([*command_here('train'), osp.join(run.path, config)], run.path, [])


def _recorded(run: RunData) -> Tuple[List[str], List[str]]:
    """How ``run.json`` says that training was started, and with which arguments: by tools/train.py or `mmmim train`.

    Both are empty where something else trained, such as `mmmim pretrain`.
    """
    try:
        words = shlex.split(text(run.record.get('command')))
    except ValueError:
        return [], []
    for place, word in enumerate(words[:-1]):
        name, rest = osp.basename(word), words[place + 1 :]
        if name == 'train.py':
            return ['python', word], rest
        if name in ('mmmim', '__main__.py') and rest[0] == 'train' and rest[1:]:
            return (['mmmim'] if name == 'mmmim' else ['python', '-m', 'mmmim']) + ['train'], rest[1:]
    return [], []


def _tool(run: RunData, command: str, script: str) -> List[str]:
    """How another command of mmmim is started: as training was, by a script of tools/ or by its name."""
    start, _ = _recorded(run)
    if start and start[-1] != 'train':
        return ['python', osp.join(osp.dirname(start[-1]), script)]
    return [*start[:-1], command] if start else command_here(command)


def _train_command(run: RunData, start: List[str], words: List[str]) -> Command:
    """From ``CONFIG ...``; several processes are started by tools/dist_train.sh, or by torchrun."""
    options, rest = _OPTIONS.parse_known_args(words)
    config = next((word for word in rest if word.endswith(('.py', '.json', '.yaml', '.yml'))), rest[0] if rest else '')
    rest = [word for word in rest if word != config]
    processes, slurm = int(number(run.record.get('processes')) or 1), options.launcher == 'slurm'
    script = start[-1] if start[-1] != 'train' else ''
    if script and slurm:
        start = [f'GPUS={processes}', script.replace('train.py', 'slurm_train.sh'), 'PARTITION', 'JOB', config]
    elif script and processes > 1:
        start = [script.replace('train.py', 'dist_train.sh'), config, str(processes)]
    elif slurm or processes > 1:
        launcher = (
            ['srun', f'--ntasks={processes}', 'python'] if slurm else ['torchrun', f'--nproc_per_node={processes}']
        )
        start = [*launcher, '-m', 'mmmim', 'train', config]
        rest += ['--launcher', options.launcher or 'pytorch']
    else:
        start = [*start, config]
    length = [f'max_epochs={options.epochs}'] if options.epochs else []
    return Command(start, options.work_dir, [*options.cfg_options, *length], rest)


def _test(run: RunData, command: Optional[Command], checkpoint: str) -> Optional[Step]:
    config = text(run.record.get('source')) or (osp.join(run.path, run.config_name) if run.config_name else '')
    if not config:
        return None
    words = [
        *_tool(run, 'test', 'test.py'),
        config,
        checkpoint,
        '--work-dir',
        run.path,
        *['--linear'] * (not run.dense),
    ]
    note = 'Without the checkpoint: the random initialisation, to compare with. Both go into this report.'
    overrides = command.overrides if command else []
    return Step('Measure it', _command(words, overrides), 'It goes into this report.' if run.dense else note)


def _predict(run: RunData, checkpoint: str) -> Optional[Step]:
    """Pictures of a segmentor's or detector's predictions."""
    if not run.dense or not run.config_name:
        return None
    words = [*_tool(run, 'predict', 'visualize/predict.py'), osp.join(run.path, run.config_name), checkpoint]
    lines = f'{shlex.join(words)} PATH/TO/IMAGES --out predictions.png'
    return Step('See what it says about other images', lines)


def _fine_tune(run: RunData, checkpoint: str) -> Optional[Step]:
    backbone = mapping(mapping(run.config.get('model')).get('backbone'))
    name = text(backbone.get('type')).rpartition('.')[2]
    if name not in ('MaskedViT', 'ConvViT', 'MaskedSwin'):
        return None
    values = {key: value for key, value in backbone.items() if key not in ('type', 'init_cfg')}
    arguments = ', '.join(f'{key}={value!r}' for key, value in dict(type=f'mmmim.{name}', **values).items())
    return Step(
        'Fine-tune it, in a config of any toolbox',
        f"""custom_imports = dict(imports=['mmmim'])
backbone = dict({arguments},
                init_cfg=dict(type='Pretrained', checkpoint={osp.abspath(checkpoint)!r}, prefix='backbone.'))""",
    )


def timm_snippet(path: str) -> str:
    """Python that loads an exported encoder into timm; '' where no ``config.json`` beside it tells timm what it is."""
    folder = osp.dirname(osp.abspath(path))
    try:
        with open(osp.join(folder, 'config.json'), encoding='utf-8') as file:
            content = json.load(file)
        channels, height, width = content['pretrained_cfg']['input_size']
        architecture = content['architecture']
    except (OSError, ValueError, KeyError, TypeError):
        return ''
    return f"""import timm
import torch

encoder = timm.create_model({f'local-dir:{folder}'!r},
                            checkpoint_path={osp.abspath(path)!r}).eval()  # {architecture}
config = timm.data.resolve_model_data_config(encoder)
mean, std = torch.tensor(config['mean']), torch.tensor(config['std'])
images = torch.rand(1, {channels}, {height}, {width})  # yours: RGB, 0 to 1
tokens = encoder.forward_features((images - mean[:, None, None]) / std[:, None, None])"""
