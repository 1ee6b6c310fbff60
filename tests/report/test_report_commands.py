"""How to go on: the commands are accepted by the tools, the snippets run."""

import shlex
import shutil
from pathlib import Path

import pytest
import torch
from harness import ROOT
from mmengine.config import Config

from mmmim.checkpoint import export_encoder
from mmmim.checkpoint.timm_config import write_timm_config
from mmmim.cli import COMMANDS as COMMAND_NAMES
from mmmim.commands.train import parse_args
from mmmim.models.backbones.vit import MaskedViT
from mmmim.registry import MODELS
from mmmim.report.commands import next_steps, timm_snippet, training_command
from mmmim.report.run_data import RunData

SMALL = dict(arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=16, patch_size=4)
COMMANDS = {
    'tools/train.py configs/mae/a.py --resume': [
        'python tools/train.py configs/mae/a.py --resume',
        'python tools/train.py configs/mae/a.py --work-dir w_longer --cfg-options max_epochs=4',
    ],
    'tools/train.py configs/mae/a.py --anew': [
        'python tools/train.py configs/mae/a.py --resume',
        'python tools/train.py configs/mae/a.py --work-dir w_longer --cfg-options max_epochs=4',
    ],
    '.venv/bin/mmmim train configs/mae/a.py --resume': [
        'mmmim train configs/mae/a.py --resume',
        'mmmim train configs/mae/a.py --work-dir w_longer --cfg-options max_epochs=4',
    ],
    '/env/lib/mmmim/__main__.py train mae/a.py --work-dir w': [
        'python -m mmmim train mae/a.py --work-dir w --resume',
        'python -m mmmim train mae/a.py --work-dir w_longer --cfg-options max_epochs=4',
    ],
    "tools/train.py --cfg-options data_root='my photos' max_epochs=2 --work-dir w --resume x.pth a.py": [
        "python tools/train.py a.py --work-dir w --resume --cfg-options 'data_root=my photos' max_epochs=2",
        "python tools/train.py a.py --work-dir w_longer --cfg-options 'data_root=my photos' max_epochs=4",
    ],
}


@pytest.mark.parametrize('command', COMMANDS)
def test_commands_continue_the_run(command):
    run = RunData('w', record=dict(command=command))
    found = training_command(run)
    assert [found.resumed(), found.longer('max_epochs', 4, 'w_longer')] == COMMANDS[command]
    resumed, longer = (
        line.partition('train.py ')[2] or line.partition('train ')[2]
        for line in (found.resumed(), found.longer('max_epochs', 4, 'w_longer'))
    )
    assert parse_args(shlex.split(resumed)).resume == 'auto'
    args = parse_args(shlex.split(longer))
    assert args.resume is None and args.config.endswith('a.py') and args.cfg_options['max_epochs'] == 4
    assert args.work_dir == 'w_longer'


def test_several_processes_are_started_by_their_launcher():
    run = RunData(
        'w', record=dict(command='tools/train.py a.py --launcher pytorch --local-rank=0 --work-dir w', processes=4)
    )
    assert training_command(run).resumed() == 'tools/dist_train.sh a.py 4 --work-dir w --resume'
    run.record.update(command='tools/train.py a.py --launcher slurm')
    assert training_command(run).resumed() == 'GPUS=4 tools/slurm_train.sh PARTITION JOB a.py --resume'
    torchrun = 'torchrun --nproc_per_node=4 -m mmmim train a.py --launcher pytorch --resume'
    run.record.update(command='/env/mmmim/__main__.py train a.py --launcher pytorch')
    assert training_command(run).resumed() == torchrun


@pytest.mark.parametrize('command', ['', 'mmmim pretrain --data photos', 'unbalanced "', None, 'tools/train.py'])
def test_without_a_known_command_the_config_in_the_work_dir_continues(monkeypatch, command):
    monkeypatch.chdir(ROOT)
    run = RunData('w/my run', config_name='as_run.py', record=dict(command=command))
    python, _, rest = training_command(run).resumed().partition(' ')
    assert shutil.which(python) and rest == "-m mmmim train 'w/my run/as_run.py' --work-dir 'w/my run' --resume"
    assert training_command(RunData('w', record=dict(command=command))) is None


def steps_elsewhere(monkeypatch, tmp_path, command):
    """Words of the steps of a dense run that was started in a folder without tools/."""
    monkeypatch.chdir(tmp_path)
    Path('w').mkdir()
    for name in ('pretrain.py', 'as_run_pretrain.py'):
        Path('w', name).touch()
    torch.save({}, 'w/epoch_3.pth')
    run = RunData(
        'w',
        config_name='as_run_pretrain.py',
        config=dict(default_scope='mmseg'),
        record=dict(command=command, source='w/pretrain.py', max_epochs=10),
    )
    return [shlex.split(step.lines) for step in next_steps(run)]


def test_the_commands_after_mmmim_pretrain_are_there_in_any_folder(monkeypatch, tmp_path):
    found = steps_elsewhere(monkeypatch, tmp_path, 'venv/bin/mmmim pretrain --data photos --out w')
    assert [words[1:4] for words in found] == [['-m', 'mmmim', name] for name in ('train', 'train', 'test', 'predict')]
    assert all(words[3] in COMMAND_NAMES and shutil.which(words[0]) for words in found)
    assert all(Path(words[4]).is_file() for words in found)


def test_the_tools_are_where_the_one_was_that_trained(monkeypatch, tmp_path):
    found = steps_elsewhere(monkeypatch, tmp_path, 'lib/mmmim_tools/train.py w/pretrain.py --work-dir w')
    assert [words[:2] for words in found] == [
        ['python', f'lib/mmmim_tools/{name}.py'] for name in ('train', 'train', 'test', 'visualize/predict')
    ]


def test_a_config_that_was_written_to_the_work_dir_goes_before_the_dumped_one(tmp_path):
    (tmp_path / 'pretrain.py').touch()
    run = RunData(str(tmp_path), config_name='as_run_pretrain.py', record=dict(source='w/pretrain.py'))
    assert training_command(run).start[-1] == str(tmp_path / 'pretrain.py')


def test_next_steps_follow_from_what_is_there(tmp_path):
    run = RunData(str(tmp_path), record=dict(command='tools/train.py a.py', max_epochs=10))
    assert [step.title for step in next_steps(run)] == ['Start again']
    torch.save({}, tmp_path / 'epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/before/it/moved/epoch_3.pth')
    assert [step.title for step in next_steps(run)] == ['Continue', 'Train longer: 40 epochs']
    run.record.update(finished=True, source='a.py')
    steps = {step.title: step.lines for step in next_steps(run)}
    assert list(steps) == ['Train longer: 40 epochs', 'Measure it']
    assert steps['Measure it'] == f'python tools/test.py a.py {tmp_path}/epoch_3.pth --work-dir {tmp_path} --linear'


def test_a_copy_of_a_work_dir_goes_on_from_its_own_checkpoint(tmp_path):
    for name in ('first', 'copy'):
        (tmp_path / name).mkdir()
        torch.save({}, tmp_path / f'{name}/epoch_3.pth')
        (tmp_path / name / 'last_checkpoint').write_text(str(tmp_path / 'first/epoch_3.pth'))
    run = RunData(str(tmp_path / 'copy'), record=dict(source='a.py'))
    measure = next(step.lines for step in next_steps(run) if step.title == 'Measure it')
    assert shlex.split(measure)[4:6] == ['a.py', str(tmp_path / 'copy/epoch_3.pth')]


def test_the_config_for_fine_tuning_builds_the_encoder(tmp_path):
    torch.save({}, tmp_path / 'epoch_3.pth')
    run = RunData(str(tmp_path), config=dict(model=dict(backbone=dict(type='MaskedViT', init_cfg=None, **SMALL))))
    lines = next(step.lines for step in next_steps(run) if step.title.startswith('Fine-tune'))
    config = Config.fromstring(lines, '.py')
    assert config.custom_imports == dict(imports=['mmmim'])
    assert config.backbone.init_cfg.checkpoint == str(tmp_path / 'epoch_3.pth')
    assert MODELS.build(dict(config.backbone, init_cfg=None)).embed_dim == 32


def test_the_snippet_for_timm_gives_the_same_features(tmp_path):
    model = MaskedViT(**SMALL, class_token=False, num_register_tokens=2, in_chans=2).eval()
    path = str(tmp_path / 'encoder.safetensors')
    export_encoder(model, path, dict(backbone=dict(type='MaskedViT', **SMALL)))
    assert timm_snippet(path) == ''
    (tmp_path / 'config.json').write_text('{"hidden_size": 32}')  # of another library
    assert timm_snippet(path) == ''
    (tmp_path / 'config.json').unlink()
    write_timm_config(path, model, [100.0] * 2, [50.0] * 2)
    names = {}
    exec(timm_snippet(path), names)
    torch.testing.assert_close(names['tokens'], model((names['images'] * 255 - 100) / 50), rtol=1e-5, atol=1e-5)


def test_a_length_that_was_given_as_an_option_is_replaced_in_a_longer_run(tmp_path):
    words = 'tools/train.py mae.py --epochs 30 --stretch --lr 1e-3 --resume --cfg-options model.mask_ratio=0.5'
    run = RunData(str(tmp_path), config_name='mae.py', record=dict(command=words, max_epochs=30))
    command = training_command(run)
    assert command.resumed() == (
        'python tools/train.py mae.py --lr 1e-3 --resume --cfg-options model.mask_ratio=0.5 max_epochs=30'
    )
    assert command.longer('max_epochs', 120, 'w').endswith('--cfg-options model.mask_ratio=0.5 max_epochs=120')
