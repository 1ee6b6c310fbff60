"""The command `mmmim`: what it hands over, and how it ends."""

import importlib.util
import inspect
import json
import os
import subprocess
import sys

import pytest
from harness import ROOT

import mmmim.apis
from mmmim.config.load import load_config

pytestmark = pytest.mark.runs

CLI = ROOT / 'tools/cli.py'
spec = importlib.util.spec_from_file_location('mmmim_tools_cli', CLI)
cli = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cli)

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
        [str(python), str(CLI), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **variables},
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
                'method': 'mae',
                'model': 'vit-tiny',
                'image_size': None,
                'epochs': 3,
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


def test_embed_takes_its_options(calls):
    cli.main(['embed', '--checkpoint', 'a.pth', '--data', 'photos', '--pool', 'cls', '--batch-size', '7'])
    assert calls == [
        ('embed', dict(checkpoint='a.pth', data='photos', out='features.npy', pool='cls', batch_size=7, config=None))
    ]


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


def test_an_unknown_command_names_those_there_are():
    with pytest.raises(SystemExit) as end:
        cli.main(['trian'])
    for name in ('pretrain', 'embed', 'doctor', 'train', 'test', 'report'):
        assert name in end.value.code


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


def test_scripts_are_become(monkeypatch, tmp_path):
    became = []
    monkeypatch.chdir(tmp_path)  # from anywhere, a config of ours is found by its name
    monkeypatch.setattr(cli.os, 'execv', lambda python, words: became.append(words[1:]))
    cli.main(['train', 'mae/vit-tiny_folder.py', '--resume'])
    cli.main(['test', 'configs/mae/vit-tiny_folder.py'])
    cli.main(['report', 'run'])
    cli.main(['train', 'no/such.py'])
    config = str(ROOT / 'configs/mae/vit-tiny_folder.py')
    assert became == [
        [str(ROOT / 'tools/train.py'), config, '--resume'],
        [str(ROOT / 'tools/test.py'), config],
        [str(ROOT / 'tools/visualize/report.py'), 'run'],
        [str(ROOT / 'tools/train.py'), 'no/such.py'],
    ]
    assert load_config(config).model.type == 'MAE'


def test_every_script_is_there():
    for script in cli.SCRIPTS.values():
        assert (ROOT / 'tools' / script).is_file()


def test_the_doctor_needs_nothing_installed(bare):
    done = command('doctor', '--json', python=bare, PYTHONPATH='')
    assert done.returncode == 1 and done.stderr == ''
    assert json.loads(done.stdout)['pretraining_works'] is False


@pytest.mark.parametrize('arguments', [PRETRAIN, ['embed', '--checkpoint', 'a', '--data', 'b'], ['train', 'x.py']])
def test_without_torch_one_line_says_what_to_do(bare, arguments):
    done = command(*arguments, python=bare, PYTHONPATH=str(ROOT))
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert 'mmmim needs torch' in done.stderr and 'doctor' in done.stderr
