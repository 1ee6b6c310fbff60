"""The command line of tools/convert_checkpoint.py: round trips, refusals, one-line errors."""
import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmmim.checkpoint import load_file

ROOT = Path(__file__).resolve().parents[1]
CONVERTER = ROOT / 'tools' / 'convert_checkpoint.py'


def converter_main(*arguments):
    """Runs tools/convert_checkpoint.py inside this process and returns its exit code."""
    spec = importlib.util.spec_from_file_location('convert_checkpoint', CONVERTER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    argv, sys.argv = sys.argv, [str(CONVERTER), *map(str, arguments)]
    try:
        return module.main()
    finally:
        sys.argv = argv


class Attack:
    """Pickles as the call ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __call__(self):  # pickle wants a callable where the result of a call is called
        raise AssertionError

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('new_format', [True, False])
@pytest.mark.parametrize('name', ['system', 'getattr', 'exec'])
def test_hostile_file_is_refused_and_not_run(tmp_path, capsys, name, new_format):
    path, marker, out = tmp_path / 'hostile.pth', tmp_path / 'marker', tmp_path / 'out.pth'
    code = f'open({str(marker)!r}, "w")'
    attack = {'system': Attack(os.system, f'touch {marker}'), 'exec': Attack(exec, code),
              'getattr': Attack(Attack(getattr, Attack(__import__, 'builtins'), 'exec'), code)}
    torch.save({'state_dict': {'a': torch.ones(1)}, 'x': attack[name]}, path, _use_new_zipfile_serialization=new_format)
    torch.load(path, weights_only=False)
    assert marker.exists()  # the control: the weapon is loaded
    marker.unlink()
    assert converter_main(path, out) == 1
    assert not marker.exists() and not out.exists()
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and name.replace('getattr', '__import__') in error


def test_converter_there_and_back(tmp_path, capsys):
    arrays = np.load(ROOT / 'tests' / 'data' / 'mae_official.npz')
    state = {key[3:]: torch.from_numpy(arrays[key]) for key in arrays if key.startswith('sd/')}
    torch.save(dict(model=state, args=argparse.Namespace(lr=1)), tmp_path / 'mae.pth')
    assert converter_main(tmp_path / 'mae.pth', tmp_path / 'ours.pth') == 0
    assert 'scheme mae, 74 keys' in capsys.readouterr().out
    assert 'backbone.cls_token' in load_file(tmp_path / 'ours.pth')['state_dict']
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'hf.safetensors', '--to', 'hf_vit_mae') == 0
    assert converter_main(tmp_path / 'hf.safetensors', tmp_path / 'back.pth', '--to', 'mae') == 0
    back = load_file(tmp_path / 'back.pth')['model']
    assert set(back) == set(state) and all(torch.equal(back[key], state[key]) for key in state)
    capsys.readouterr()
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'timm.pth', '--to', 'timm') == 0
    assert 'left out: neck (32)' in capsys.readouterr().out
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'encoder.safetensors', '--to', 'safetensors') == 0
    assert set(load_file(tmp_path / 'encoder.safetensors')['state_dict']) == set(load_file(tmp_path / 'timm.pth'))


def test_converter_errors_are_one_line(tmp_path, capsys):
    torch.save({'layers.0.weight': torch.ones(1)}, tmp_path / 'unknown.pth')
    torch.save({'backbone.blocks.0.a': torch.ones(1)}, tmp_path / 'ours.pth')
    out = tmp_path / 'out.pth'
    for arguments, text in (((tmp_path / 'absent.pth', out), 'can not be found'), ((tmp_path, out), 'is a folder'),
                            ((tmp_path / 'unknown.pth', out), 'belong to none of'),
                            ((tmp_path / 'ours.pth', out, '--to', 'safetensors'), '.safetensors file'),
                            ((tmp_path / 'ours.pth', tmp_path / 'unknown.pth'), '--force')):
        assert converter_main(*arguments) == 1
        error = capsys.readouterr().err
        assert text in error and len(error.splitlines()) == 1
    assert not out.exists()
    assert converter_main(tmp_path / 'ours.pth', tmp_path / 'unknown.pth', '--force') == 0


def test_converter_as_a_process(tmp_path):
    result = subprocess.run([sys.executable, str(CONVERTER), str(tmp_path / 'absent.pth'), str(tmp_path / 'out.pth')],
                            capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr and 'can not be found' in result.stderr
