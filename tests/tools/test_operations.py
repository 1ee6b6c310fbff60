"""Shares of a step's time by kind of operation."""
import json
import runpy
import sys

import pytest
import torch
from harness import ROOT, make_config, save_config

from mmmim.analysis.operations import ELEMENTWISE, OUTSIDE, UNCOUNTED, kind_of, share_by_kind


@pytest.mark.parametrize('name, kind', [
    ('aten::_fused_adamw_', 'optimizer'), ('Optimizer.step#AdamW.step', 'optimizer'),
    ('aten::_scaled_dot_product_flash_attention_for_cpu_backward', 'attention: fused'),
    ('aten::_softmax_backward_data', 'attention: softmax'), ('aten::bmm', 'attention: batched products'),
    ('aten::addmm', 'linear layers'), ('aten::mm', 'linear layers'), ('nvjet_tst_128x256', 'linear layers'),
    ('aten::mkldnn_convolution', 'convolutions'), ('aten::native_layer_norm_backward', 'layer and batch norms'),
    ('aten::gelu_backward', 'GELU'), ('aten::copy_', 'copies and casts'), ('aten::gather', 'gather and scatter'),
    ('triton_poi_fused_add_0', 'compiled kernels'), ('aten::add_', ELEMENTWISE), ('aten::mul', ELEMENTWISE),
])
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


def test_benchmark_prints_and_writes_them(tmp_path, image_root, monkeypatch, capsys):
    path = save_config(make_config(tmp_path / 'run', image_root), tmp_path / 'config.py')
    monkeypatch.setattr(sys, 'argv', ['benchmark_train.py', str(path), '--batch', '4', '--steps', '1', '--warmup', '0',
                                      '--no-memory', '--profile', '--dtype', 'float32', '--out',
                                      str(tmp_path / 'out.json')])
    runpy.run_path(str(ROOT / 'tools/analysis/benchmark_train.py'), run_name='__main__')
    shares = json.loads((tmp_path / 'out.json').read_text())['shares']
    assert {'linear layers', 'optimizer', 'layer and batch norms', 'GELU'} < set(shares)
    assert sum(shares.values()) == pytest.approx(1)
    largest = max(shares, key=shares.get)
    assert f'{shares[largest]:.1%}  {largest}' in capsys.readouterr().out
