"""What is imported late, or left out, works all the same."""

import subprocess
import sys

import pytest
import torch
from mmengine.registry import OPTIMIZERS

from mmmim import deferred

pytest.importorskip('transformers')


def in_new_process(code):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


@pytest.mark.runs
def test_no_process_imports_transformers_for_nothing_and_its_optimizer_is_there():
    said = in_new_process(
        'import sys, torch, mmmim.engine.launch\n'
        "print('transformers' in sys.modules)\n"
        'from mmengine.registry import OPTIMIZERS\n'
        "optimizer = OPTIMIZERS.build(dict(type='Adafactor', params=[torch.nn.Parameter(torch.ones(2))]))\n"
        'print(type(optimizer).__module__, isinstance(optimizer, torch.optim.Optimizer))\n'
        "print('transformers.optimization' in sys.modules)"
    )
    assert said[0] == 'False' and said[-3:] == ['transformers.optimization', 'True', 'True']


def test_the_optimizer_takes_its_arguments():
    found = OPTIMIZERS.build(dict(type='Adafactor', params=[torch.nn.Parameter(torch.ones(2))], beta1=0.9))
    assert found.defaults['beta1'] == 0.9


def test_transformers_that_is_imported_already_stays(monkeypatch):
    present = object()
    monkeypatch.setitem(sys.modules, 'transformers', present)
    with deferred.transformers_deferred():
        assert sys.modules['transformers'] is present
    assert sys.modules['transformers'] is present


@pytest.mark.parametrize('release, left_out', [('4.57.6', False), ('5.0.0', True), ('5.24.0', True)])
def test_multimodal_models_are_left_out_where_transformers_is_too_new_for_them(release, left_out, monkeypatch):
    import mmpretrain.utils
    from mmpretrain.utils import dependency

    monkeypatch.setattr(dependency, 'WITH_MULTIMODAL', True)
    monkeypatch.setattr(mmpretrain.utils, 'WITH_MULTIMODAL', True, raising=False)
    monkeypatch.setattr(deferred, 'version', lambda name: release)
    deferred.leave_out_multimodal()
    assert dependency.WITH_MULTIMODAL is not left_out and mmpretrain.utils.WITH_MULTIMODAL is not left_out
