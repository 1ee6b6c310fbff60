"""torchvision's operators in the place of mmcv's: equal to what mmcv's compiled ones gave, and errors for the rest."""

import importlib
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
import mmcv_ops_cases as cases  # noqa: E402

from mmmim.models import mmcv_ops
from mmmim.models import mmdet_parts as detection  # noqa: E402, F401  (the first lets mmcv.ops be imported)


@pytest.fixture(scope='module')
def stored():
    with np.load(cases.FIXTURE) as file:
        return dict(file)


def replace_ops(monkeypatch):
    """Let mmcv call torchvision's operators, also where compiled ones are installed."""
    ours = mmcv_ops.TorchvisionOps('mmcv._ext')
    for name in ('nms', 'roi_align'):
        monkeypatch.setattr(importlib.import_module(f'mmcv.ops.{name}'), 'ext_module', ours)


@pytest.mark.parametrize('ops', ['torchvision', 'installed'])
def test_results_losses_and_gradients_equal_those_of_the_compiled_operators(ops, stored, monkeypatch):
    if ops == 'torchvision':
        replace_ops(monkeypatch)
    found = cases.results()
    assert found.keys() == stored.keys()
    for key, value in stored.items():
        assert found[key].shape == value.shape, key
        if key.startswith('nms/'):
            assert found[key].tolist() == value.tolist(), key
        else:
            np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    for key in ('nms/0.5/0', 'roi_align/0/some/gradient', 'cascade_mask_rcnn/s2.loss_bbox'):
        assert stored[key].any()
    gradients = [key for key in stored if '/gradient/backbone' in key]
    assert len(gradients) > 40 and all(stored[key].any() for key in gradients if 'qkv.bias' not in key)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_half_precisions_are_computed_in_float32(dtype, monkeypatch):
    replace_ops(monkeypatch)
    from mmcv.ops import nms, roi_align

    given = {key: torch.from_numpy(value).to(dtype) for key, value in cases.inputs().items()}
    maps = given['maps'].requires_grad_()
    wide = maps.detach().float().requires_grad_()
    output = roi_align(maps, given['rois'], (3, 3), 0.25, 0, 'avg', True)
    expected = roi_align(wide, given['rois'].float(), (3, 3), 0.25, 0, 'avg', True)
    assert output.dtype == dtype and torch.equal(output, expected.to(dtype))
    gradient = torch.ones_like(output)
    output.backward(gradient)
    expected.backward(gradient.float())
    assert maps.grad.dtype == dtype and torch.equal(maps.grad, wide.grad.to(dtype))
    scores = torch.linspace(0, 1, 40).to(dtype)
    kept = nms(given['nms_boxes'][:40], scores, 0.5)[1]
    assert torch.equal(kept, nms(given['nms_boxes'][:40].float(), scores.float(), 0.5)[1])


@pytest.mark.gpu
def test_on_a_gpu_the_results_are_the_same(monkeypatch):
    replace_ops(monkeypatch)
    given = {key: torch.from_numpy(value) for key, value in cases.inputs().items()}
    there = {key: value.cuda() for key, value in given.items()}
    for function in (cases.nms_results, cases.roi_align_results):
        for (key, here), (_, on_gpu) in zip(function(given), function(there)):
            torch.testing.assert_close(on_gpu.cpu(), here, rtol=1e-9, atol=1e-9, msg=key)


def test_other_operators_are_errors_that_say_how_to_compile_them(monkeypatch):
    ours = mmcv_ops.TorchvisionOps('mmcv._ext')
    with pytest.raises(NotImplementedError, match='operator softnms is not compiled.*MMCV_WITH_OPS=1 pip install'):
        ours.softnms(1, 2)
    with pytest.raises(AttributeError):
        ours.__nothing__  # noqa: B018
    replace_ops(monkeypatch)
    from mmcv.ops import roi_align

    with pytest.raises(NotImplementedError, match='maximum.*MMCV_WITH_OPS=1 pip install'):
        roi_align(torch.ones(1, 1, 4, 4), torch.zeros(1, 5), (2, 2), 1.0, 0, 'max', True)


def compiled(cuda, kept=(1,), error=None):
    def nms(boxes, scores, iou_threshold, offset):
        if error:
            raise error
        return torch.tensor(kept)

    return types.SimpleNamespace(nms=nms, get_compiling_cuda_version=lambda: cuda)


def missing(name='mmcv._ext'):
    return ModuleNotFoundError(f'No module named {name!r}', name=name)


@pytest.mark.parametrize(
    'found, gpu, warning, replaced',
    [
        (compiled('not available'), False, None, False),
        (compiled('13.0'), True, None, False),
        (compiled('not available'), True, 'compiled without CUDA', True),
        (missing(), True, None, True),
        (compiled('13.0', kept=(0, 1)), False, r'are wrong with torch .*keeps \[0, 1\]', True),
        (compiled('13.0', error=RuntimeError('no device\nframe #0')), True, r'fail with torch .*\(no device\)', True),
        (ImportError('_ext.so: undefined symbol: _ZN2at'), False, 'do not load with torch .*undefined symbol', True),
        (OSError('libc10_cuda.so: cannot open'), False, 'do not load with torch', True),
    ],
)
def test_compiled_operators_that_fit_are_used(found, gpu, warning, replaced, monkeypatch):
    def import_module(name):
        assert name == 'mmcv._ext'
        if isinstance(found, Exception):
            raise found
        return found

    modules = {'mmdet': None}
    monkeypatch.setattr(mmcv_ops, 'importlib', types.SimpleNamespace(import_module=import_module))
    monkeypatch.setattr(mmcv_ops, 'sys', types.SimpleNamespace(modules=modules))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        mmcv_ops.provide_ops()
    assert ('mmcv._ext' in modules) == replaced
    assert len(said) == (warning is not None)
    if warning:
        with pytest.warns(UserWarning, match=warning):
            mmcv_ops.provide_ops()


def test_mmdet_that_was_imported_without_operators_is_an_error(monkeypatch):
    def import_module(name):
        raise missing()

    monkeypatch.setattr(mmcv_ops, 'importlib', types.SimpleNamespace(import_module=import_module))
    monkeypatch.setattr(mmcv_ops, 'sys', types.SimpleNamespace(modules={'mmdet.structures': None}))
    with pytest.raises(ImportError, match='in a new process, import mmmim.models.mmdet_parts first'):
        mmcv_ops.provide_ops()
    mmcv_ops.provide_ops(required=False)


@pytest.mark.runs
def test_after_another_toolbox_segmentation_works_and_detection_says_what_to_do():
    """Its models have imported mmdet, which has put functions that fail in the place of operators."""
    code = (
        "import sys; sys.modules['mmcv._ext'] = None\n"
        'import mmengine, mmseg.models, mmmim.engine.launch as launch\n'
        "del sys.modules['mmcv._ext']\n"
        "launch.set_up_scope(mmengine.Config(dict(default_scope='mmseg')))\n"
        "launch.set_up_scope(mmengine.Config(dict(default_scope='mmdet')))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    last = done.stderr.strip().splitlines()[-1]
    assert 'import mmmim.models.mmdet_parts first' in last and 'setup_env' not in last


def test_without_mmcv_the_error_names_mmcv(monkeypatch):
    def import_module(name):
        raise missing('mmcv')

    monkeypatch.setattr(mmcv_ops, 'importlib', types.SimpleNamespace(import_module=import_module))
    with pytest.raises(ModuleNotFoundError, match="'mmcv'"):
        mmcv_ops.provide_ops()
