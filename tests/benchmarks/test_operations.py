"""Shares of a step's time by kind of operation."""

import json
import runpy
import sys
from types import SimpleNamespace

import pytest
import torch
from harness import ROOT, make_config, save_config
from torch.autograd import DeviceType

from operations import (
    ELEMENTWISE,
    OUTSIDE,
    UNCOUNTED,
    WITHOUT_OPERATOR,
    kind_of,
    seconds_by_kind,
    share_by_kind,
)

pytestmark = pytest.mark.runs


@pytest.mark.parametrize(
    'name, kind',
    [
        ('aten::_fused_adamw_', 'optimizer'),
        ('Optimizer.step#AdamW.step', 'optimizer'),
        ('aten::_scaled_dot_product_flash_attention_for_cpu_backward', 'attention: fused'),
        ('aten::_softmax_backward_data', 'attention: softmax'),
        ('aten::bmm', 'attention: batched products'),
        ('aten::addmm', 'linear layers'),
        ('aten::mm', 'linear layers'),
        ('nvjet_tst_128x256', 'linear layers'),
        ('aten::mkldnn_convolution', 'convolutions'),
        ('aten::native_layer_norm_backward', 'layer and batch norms'),
        ('aten::gelu_backward', 'GELU'),
        ('aten::copy_', 'copies and casts'),
        ('aten::gather', 'gather and scatter'),
        ('triton_poi_fused_add_0', 'compiled kernels'),
        ('aten::add_', ELEMENTWISE),
        ('aten::mul', ELEMENTWISE),
    ],
)
def test_operators_have_the_kind_a_reader_expects(name, kind):
    assert kind_of(name) == kind


def test_shares_follow_where_the_time_is_spent():
    weight, data = torch.randn(1500, 1500), torch.randn(1500, 1500)
    shares = share_by_kind(lambda x: (x @ weight).add_(1), data, torch.device('cpu'), steps=5)
    assert next(iter(shares)) == 'linear layers' and shares['linear layers'] > 0.5
    assert sum(shares.values()) == pytest.approx(1) and ELEMENTWISE in shares and OUTSIDE in shares
    mostly = share_by_kind(lambda x: torch.softmax(x, 1), data, torch.device('cpu'), steps=5)
    assert next(iter(mostly)) == 'attention: softmax'


def test_steps_before_the_one_that_counts_leave_no_share():
    weight, data, done = torch.randn(800, 800), torch.randn(800, 800), []

    def step(x):
        done.append(1)
        return torch.softmax(x, 1) if len(done) % (UNCOUNTED + 1) else x @ weight

    shares = share_by_kind(step, data, torch.device('cpu'), steps=2)
    assert len(done) == 2 * (UNCOUNTED + 1)
    assert 'linear layers' in shares and 'attention: softmax' not in shares


def test_a_kernel_counts_once_and_by_its_operator():
    def event(key, device, gpu_us, cpu_us=1.0):
        return SimpleNamespace(key=key, device_type=device, self_device_time_total=gpu_us, self_cpu_time_total=cpu_us)

    events = [
        event('aten::mm', DeviceType.CPU, 80e6),
        event('sm90_xmma_gemm_bf16', DeviceType.CUDA, 80e6),
        event('aten::_fused_adamw_', DeviceType.CPU, 15e6),
        event('multi_tensor_apply', DeviceType.CUDA, 15e6),
        event('written_by_hand', DeviceType.CUDA, 5e6),
        event('ProfilerStep*', DeviceType.CUDA, 100e6),
    ]
    assert seconds_by_kind(events, on_gpu=True) == {'linear layers': 80.0, 'optimizer': 15.0, WITHOUT_OPERATOR: 5.0}
    assert set(seconds_by_kind(events[:1], on_gpu=False)) == {'linear layers'}


def test_benchmark_prints_and_writes_them(tmp_path, image_root, monkeypatch, capsys):
    path = save_config(make_config(tmp_path / 'run', image_root), tmp_path / 'config.py')
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'benchmark_train.py',
            str(path),
            '--batch',
            '4',
            '--steps',
            '1',
            '--warmup',
            '0',
            '--no-memory',
            '--profile',
            '--dtype',
            'float32',
            '--out',
            str(tmp_path / 'out.json'),
        ],
    )
    runpy.run_path(str(ROOT / 'tools/benchmarks/benchmark_train.py'), run_name='__main__')
    shares = json.loads((tmp_path / 'out.json').read_text())['shares']
    assert {'linear layers', 'optimizer', 'layer and batch norms', 'GELU'} < set(shares)
    assert sum(shares.values()) == pytest.approx(1)
    largest = max(shares, key=shares.get)
    assert f'{shares[largest]:.1%}  {largest}' in capsys.readouterr().out
