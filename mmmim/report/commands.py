"""How to go on from a work dir: commands and snippets that fit this run."""

import json
import os
import os.path as osp
import re
import shlex
from typing import Any, List, NamedTuple, Optional

import torch
from safetensors import SafetensorError, safe_open

from ..config.paths import command as command_here
from ..models.backbones.vit import MaskedViT
from .run_curve import number
from .run_data import RunData, text


class Step(NamedTuple):
    """Something to do next: what for, the lines to copy, what else to know."""

    title: str
    lines: str
    note: str = ''


class Command(NamedTuple):
    """A command line of tools/train.py taken apart."""

    start: List[str]  # up to the config
    options: List[str]  # --name and their values, without --resume and --cfg-options
    overrides: List[str]  # key=value

    def resumed(self) -> str:
        """The command that goes on."""
        return self._join(self.options, ['--resume'], self.overrides)

    def longer(self, key: str, length: int, work_dir: str) -> str:
        """The command of a new run, in another work dir, of another length: ``max_epochs`` or ``max_iters``."""
        return self._join(
            _without(self.options, '--work-dir'),
            ['--work-dir', work_dir],
            [*(o for o in self.overrides if not o.startswith(f'{key}=')), f'{key}={length}'],
        )

    def _join(self, options: List[str], more: List[str], overrides: List[str]) -> str:
        return shlex.join([*self.start, *options, *more, *(['--cfg-options', *overrides] * bool(overrides))])


def next_steps(run: RunData) -> List[Step]:
    """What one may want to do with this run, in the order of likelihood."""
    command, checkpoint = training_command(run), newest_checkpoint(run)
    steps = []
    key, unit = ('max_iters', 'iterations') if run.by_iters else ('max_epochs', 'epochs')
    length = number(run.record.get(key)) or number(run.config.get(key))
    if command and not checkpoint:
        steps.append(Step('Start again', command.resumed(), 'There is no checkpoint in the work dir yet.'))
    elif command and run.record.get('finished') is not True:
        steps.append(
            Step('Continue', command.resumed(), '' if run.dense else 'Bit-identical to a run that was not stopped.')
        )
    if command and checkpoint and length:
        steps.append(
            Step(
                f'Train longer: {4 * length:g} {unit}',
                command.longer(key, int(4 * length), f'{run.path}_longer'),
                'A new run: the learning rate of a finished one has come down to nothing.',
            )
        )
    if checkpoint:
        steps += [
            step
            for step in (_test(run, command, checkpoint), _fine_tune(run, checkpoint), _predict(run, checkpoint))
            if step
        ]
    encoder = run.file('encoder.safetensors')
    snippet = timm_snippet(encoder) if encoder else ''
    if snippet:
        steps.append(Step('Use the encoder in timm', snippet, 'torch, timm and safetensors are all that it needs.'))
    return steps


def training_command(run: RunData) -> Optional[Command]:
    """The command that trained, from ``run.json``; where it was no tools/train.py, one that runs the config here."""
    words = _recorded(run)
    if words:
        return _train_command(run, words)
    written = osp.basename(text(run.record.get('source')))  # better than the dumped one: it still has its comments
    config = written if run.file(written) else run.config_name
    if not config.endswith('.py'):
        return None
    return Command([*command_here('train'), osp.join(run.path, config)], ['--work-dir', run.path], [])


def _recorded(run: RunData) -> List[str]:
    """From tools/train.py on what ``run.json`` says; [] where something else trained, such as ``mmmim pretrain``."""
    try:
        words = shlex.split(text(run.record.get('command')))
    except ValueError:
        return []
    script = next((i for i, word in enumerate(words[:-1]) if osp.basename(word) == 'train.py'), len(words))
    return words[script:]


def _tool(run: RunData, name: str) -> List[str]:
    """How a script of tools/ is started: from the folder of the one that trained, else from where they are here."""
    words = _recorded(run)
    return (
        ['python', osp.join(osp.dirname(words[0]), name)]
        if words
        else command_here(osp.splitext(osp.basename(name))[0])
    )


def _train_command(run: RunData, words: List[str]) -> Command:
    """From ``tools/train.py CONFIG ...``; several processes are started by tools/dist_train.sh."""
    script, rest = words[0], words[1:]
    overrides: List[str] = []
    if '--cfg-options' in rest:
        start = rest.index('--cfg-options') + 1
        end = next((i for i in range(start, len(rest)) if rest[i].startswith('--')), len(rest))
        overrides, rest = rest[start:end], rest[: start - 1] + rest[end:]
    launcher = rest[rest.index('--launcher') + 1 :][:1] if '--launcher' in rest else []
    for name in ('--launcher', '--local-rank', '--local_rank', '--resume'):
        rest = _without(rest, name)
    config = next((word for word in rest if word.endswith(('.py', '.json', '.yaml', '.yml'))), rest[0] if rest else '')
    rest = [word for word in rest if word != config]
    processes = int(number(run.record.get('processes')) or 1)
    if launcher == ['slurm']:
        start = [f'GPUS={processes}', script.replace('train.py', 'slurm_train.sh'), 'PARTITION', 'JOB', config]
    elif processes > 1:
        start = [script.replace('train.py', 'dist_train.sh'), config, str(processes)]
    else:
        start = ['python', script, config]
    return Command(start, rest, overrides)


def _without(words: List[str], name: str) -> List[str]:
    """Drop an option, with its value where one follows."""
    kept, skip = [], False
    for word in words:
        if word == name:
            skip = True
        elif skip and not word.startswith('--'):
            skip = False
        else:
            skip = False
            if not word.startswith(f'{name}='):
                kept.append(word)
    return kept


def newest_checkpoint(run: RunData) -> Optional[str]:
    """The one that ``last_checkpoint`` points to, else the one written last; None where there is none."""
    pointer = run.file('last_checkpoint')
    if pointer:
        with open(pointer, encoding='utf-8', errors='replace') as file:
            path = run.file(osp.basename(file.read(4096).strip()) or '.')  # the work dir may have moved since
        if path:
            return path
    found = [osp.join(run.path, name) for name in os.listdir(run.path) if re.fullmatch(r'(epoch|iter)_\d+\.pth', name)]
    return max(found, key=osp.getmtime, default=None)


def _test(run: RunData, command: Optional[Command], checkpoint: str) -> Optional[Step]:
    config = text(run.record.get('source')) or (osp.join(run.path, run.config_name) if run.config_name else '')
    if not config:
        return None
    overrides = command.overrides if command else []
    words = [*_tool(run, 'test.py'), config, checkpoint, '--work-dir', run.path, *['--linear'] * (not run.dense)]
    return Step(
        'Measure it',
        shlex.join([*words, *(['--cfg-options', *overrides] if overrides else [])]),
        'It goes into this report.'
        if run.dense
        else 'Without the checkpoint: the random initialisation, to compare with. Both go into this report.',
    )


def _predict(run: RunData, checkpoint: str) -> Optional[Step]:
    """Pictures of a segmentor's or detector's predictions."""
    if not run.dense or not run.config_name:
        return None
    return Step(
        'See what it says about other images',
        shlex.join([*_tool(run, 'visualize/predict.py'), osp.join(run.path, run.config_name), checkpoint])
        + ' PATH/TO/IMAGES --out predictions.png',
    )


def _fine_tune(run: RunData, checkpoint: str) -> Optional[Step]:
    model = run.config.get('model')
    backbone = model.get('backbone') if isinstance(model, dict) else None
    name = str(backbone.get('type')).rpartition('.')[2] if isinstance(backbone, dict) else ''
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
    """Python that loads an exported encoder into timm; '' where timm has no such model."""
    try:
        with safe_open(path, 'pt') as file:
            config = json.loads((file.metadata() or {})['mmmim_config'])
        backbone = dict(config['backbone'])
        if backbone.pop('type', '') not in ('MaskedViT', 'mmmim.MaskedViT') or backbone.get('mask_tokens'):
            return ''
        with torch.device('meta'):  # its sizes are wanted, not its weights
            vit = MaskedViT(**{key: value for key, value in backbone.items() if key != 'init_cfg'})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return ''
    return _timm_code(path, vit, config)


def _timm_code(path: str, vit: Any, config: dict) -> str:
    height, width = vit.img_size
    size = height if height == width else (height, width)
    patch = vit.patch_size[0] if vit.patch_size[0] == vit.patch_size[1] else tuple(vit.patch_size)
    tokens = vit.grid_size[0] * vit.grid_size[1]
    mlp = vit.blocks[0].mlp.fc1.out_features / vit.embed_dim
    arguments = dict(
        img_size=size,
        patch_size=patch,
        embed_dim=vit.embed_dim,
        depth=len(vit.blocks),
        num_heads=vit.blocks[0].attn.num_heads,
        num_classes=0,
    )
    arguments.update(
        {
            key: value
            for key, value, usual in (
                ('in_chans', vit.in_chans, 3),
                ('mlp_ratio', mlp, 4.0),
                ('final_norm', hasattr(vit.norm, 'weight'), True),
            )
            if value != usual
        }
    )
    if not vit.num_prefix_tokens:
        arguments.update(class_token=False, global_pool='avg', fc_norm=False)
    listed = ', '.join(f'{key}={value!r}' for key, value in arguments.items())
    first = 'class token first' if vit.num_prefix_tokens else 'no class token'
    mean, std = ([round(value, 3) for value in config.get(key) or []] for key in ('mean', 'std'))
    return f"""import timm
import torch
from safetensors.torch import load_file

encoder = timm.models.VisionTransformer({listed})
encoder.load_state_dict(load_file({osp.abspath(path)!r}))
mean, std = torch.tensor({mean}), torch.tensor({std})
images = torch.rand(1, {vit.in_chans}, {height}, {width}) * 255  # yours: RGB, 0 to 255
tokens = encoder.eval().forward_features((images - mean[:, None, None]) / std[:, None, None])
# tokens: [1, {vit.num_prefix_tokens + tokens}, {vit.embed_dim}], {first}"""
