"""The command `mmmim`: what it hands over, and how it ends."""

import importlib
import inspect
import json
import os
import runpy
import subprocess
import sys

import pytest
from harness import ROOT

import mmmim.apis
from mmmim import cli
from mmmim.config.load import load_config

pytestmark = pytest.mark.runs

PRETRAIN = ['pretrain', '--data', 'photos', '--out', 'run']


@pytest.fixture
def calls(monkeypatch):
    """What reaches the functions, which have to take it by their signatures."""
    seen = []

    def stand_in(name):
        signature = inspect.signature(getattr(mmmim.apis, name))
        return lambda **options: seen.append((name, signature.bind(**options).kwargs | options))

    for name in ('pretrain', 'embed'):
        monkeypatch.setattr(mmmim.apis, name, stand_in(name))
    return seen


def command(*args, python=sys.executable, **variables):
    return subprocess.run(
        [str(python), '-m', 'mmmim', *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, 'PYTHONPATH': str(ROOT), **variables},
    )


@pytest.fixture(scope='module')
def bare(tmp_path_factory):
    """A Python with nothing but its standard library."""
    folder = tmp_path_factory.mktemp('bare') / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], check=True)
    return folder / 'bin/python'


def test_options_and_overrides_may_be_mixed(calls):
    cli.main(
        [
            'pretrain',
            'model.mask_ratio=0.6',
            '--data',
            'photos',
            'total_batch_size=128',
            '--out',
            'run',
            '--epochs',
            '3',
            'a.list=[1,2]',
            'b=1,2',
            'c=True',
            'd=None',
            'e=text',
            '--resume',
        ]
    )
    assert calls == [
        (
            'pretrain',
            {
                'data': 'photos',
                'out': 'run',
                'method': None,
                'model': None,
                'target': None,
                'image_size': None,
                'hours': None,
                'epochs': 3,
                'labels': None,
                'leave_out': False,
                'compare': None,
                'lr': None,
                'batch_size': None,
                'seed': None,
                'workers': None,
                'stretch': False,
                'model.mask_ratio': 0.6,
                'total_batch_size': 128,
                'a.list': [1, 2],
                'b': [1, 2],
                'c': True,
                'd': None,
                'e': 'text',
            },
        )
    ]


@pytest.mark.parametrize('option', ['--model', '--checkpoint'])
@pytest.mark.parametrize('text, layer', [('3', 3), ('-1', -1), ('auto', 'auto')])
def test_embed_takes_its_options(calls, option, text, layer):
    cli.main(['embed', option, 'a.pth', '--data', 'photos', '--pool', 'cls', '--batch-size', '7', '--layer', text])
    options = dict(model='a.pth', data='photos', out='features.npy', pool='cls', batch_size=7, config=None)
    assert calls == [('embed', dict(options, layer=layer, image_size=None))]


@pytest.mark.parametrize(
    'arguments, words',
    [
        (PRETRAIN + ['nonsense'], 'nonsense is neither an option nor key=value'),
        (PRETRAIN + ['--wrong', '3'], '--wrong is neither'),
        (PRETRAIN + ['epochs=3'], 'epochs is an option: --epochs 3'),
        (['pretrain', '--data', 'photos'], '--out'),
        (['embed', '--checkpoint', 'a', '--data', 'b', '--pool', 'max'], 'max'),
    ],
)
def test_wrong_arguments_are_told(calls, capsys, arguments, words):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2 and words in capsys.readouterr().err and not calls


def test_an_unknown_command_names_those_there_are(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(['trian'])
    told = capsys.readouterr().err
    assert end.value.code == 2 and all(name in told for name in (*cli.COMMANDS, 'doctor'))


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_an_unknown_option_is_a_wrong_call_of_every_command(capsys, name):
    with pytest.raises(SystemExit) as end:
        cli.main([name, '--no-such-option'])
    assert end.value.code == 2 and capsys.readouterr().err.startswith(f'usage: mmmim {name} ')


@pytest.mark.parametrize('error, code', [(KeyboardInterrupt('saved'), 130), (ValueError('wrong'), None)])
def test_ends_of_a_run(monkeypatch, capsys, error, code):
    monkeypatch.setattr(mmmim.apis, 'pretrain', lambda **options: (_ for _ in ()).throw(error))
    with pytest.raises(SystemExit) as end:
        cli.main(PRETRAIN)
    if code:
        assert end.value.code == code and capsys.readouterr().err == 'saved\n'
    else:
        assert end.value.code.startswith('ValueError: wrong\n')


def test_a_run_that_saved_when_it_was_stopped_keeps_its_exit_code(monkeypatch):
    def stopped(**options):
        raise KeyboardInterrupt('saved') from SystemExit(75)

    monkeypatch.setattr(mmmim.apis, 'pretrain', stopped)
    with pytest.raises(SystemExit) as end:
        cli.main(PRETRAIN)
    assert end.value.code == 75


def test_errors_are_one_line(tmp_path):
    done = command('pretrain', '--data', tmp_path / 'nowhere', '--out', tmp_path / 'run')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'nowhere' in done.stderr and len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    'name', ['mae/vit-tiny_folder.py', 'configs/mae/vit-tiny_folder.py', 'mmmim::mae/vit-tiny_folder.py']
)
def test_a_config_that_came_along_is_found_by_its_name_from_anywhere(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    cfg = load_config(name)
    assert (
        cfg.source == str(ROOT / 'configs/mae/vit-tiny_folder.py') and cfg.work_dir == 'work_dirs/mae/vit-tiny_folder'
    )
    with pytest.raises(FileNotFoundError, match='no config'):
        load_config('no/such.py')


def test_a_config_inherits_one_that_came_along(tmp_path):
    child = tmp_path / 'mine.py'
    child.write_text("_base_ = 'mmmim::mae/vit-tiny_folder.py'\nbase_lr = 1\n")
    ours, parent = load_config(str(child)), load_config('mae/vit-tiny_folder.py')
    assert ours.base_lr == 1 and ours.model == parent.model and ours.train_dataloader == parent.train_dataloader
    child.write_text("_base_ = 'mmmim::mae/no-such.py'")
    with pytest.raises(FileNotFoundError, match='mine.py inherits .mmmim::mae/no-such.py.'):
        load_config(str(child))


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_command_has_help_that_begins_with_its_name(capsys, name):
    module = importlib.import_module(f'mmmim.commands.{name}')
    with pytest.raises(SystemExit) as end:
        module.main(['--help'])
    assert end.value.code == 0 and capsys.readouterr().out.startswith(f'usage: mmmim {name} ')


SCRIPTS = {
    'train.py': 'train',
    'test.py': 'test',
    'convert_checkpoint.py': 'convert',
    'datasets/make_shards.py': 'shards',
    'visualize/features.py': 'features',
    'visualize/predict.py': 'predict',
    'visualize/reconstruct.py': 'reconstruct',
    'visualize/report.py': 'report',
}


@pytest.mark.parametrize('script, name', SCRIPTS.items())
def test_the_scripts_of_a_checkout_are_the_command(monkeypatch, script, name):
    called = []
    monkeypatch.setattr(cli, 'main', called.append)
    monkeypatch.setattr(sys, 'argv', [script, '--some', 'arguments'])
    runpy.run_path(str(ROOT / 'tools' / script), run_name='__main__')
    assert called == [[name, '--some', 'arguments']] and script in mmmim._SCRIPTS


def test_the_doctor_needs_nothing_installed(bare):
    done = command('doctor', '--json', python=bare, PYTHONPATH='')
    assert done.returncode == 1 and done.stderr == ''
    assert json.loads(done.stdout)['pretraining_works'] is False


@pytest.mark.parametrize('arguments', [PRETRAIN, ['embed', '--checkpoint', 'a', '--data', 'b'], ['train', 'x.py']])
def test_without_torch_one_line_says_what_to_do(bare, arguments):
    done = command(*arguments, python=bare, PYTHONPATH=str(ROOT))
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert 'mmmim needs torch' in done.stderr and 'doctor' in done.stderr
