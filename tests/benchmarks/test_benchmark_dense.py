"""The benchmark of dense backbones: its two backbones compute the same, and its command line."""

import json
import re
import runpy
import sys

import pytest
import torch
from harness import FLOAT32, ROOT
from mmengine.registry import DefaultScope

pytest.importorskip('mmseg')
from mmseg.registry import MODELS  # noqa: E402

from mmmim.checkpoint.encoder import from_mmmim  # noqa: E402
from mmmim.models.backbones import DenseViT  # noqa: E402

pytestmark = pytest.mark.runs

TOOL = str(ROOT / 'tools/benchmarks/benchmark_dense.py')
SIZES = dict(
    arch=dict(embed_dim=24, depth=4, num_heads=3),
    img_size=32,
    patch_size=8,
    out_indices=(0, 1, 2, 3),
    relative_positions='separate',
)


@pytest.fixture
def run_tool(monkeypatch):
    def run(*args, shrink=True):
        options = [
            '--cfg-options',
            'model.backbone.arch=tiny',
            'crop_size=32',
            'num_classes=3',
            'model.backbone.patch_size=8',
            'model.decode_head.channels=8',
            'model.auxiliary_head.channels=8',
        ]
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(
            sys, 'argv', [TOOL, '--device', 'cpu', '--batch', '2', '--steps', '3', *args, *(options if shrink else ())]
        )
        try:
            runpy.run_path(TOOL, run_name='__main__')
        except SystemExit as end:
            return end.code
        return None

    return run


def theirs_with_our_weights(ours):
    """mmseg's backbone; what it has besides, a layer scale, at one."""
    cfg = runpy.run_path(TOOL)['mmseg_backbone'](dict(SIZES, type='mmmim.DenseViT'))
    with DefaultScope.overwrite_default_scope('mmseg'):
        theirs = MODELS.build(cfg)
    tables = {key: value for key, value in ours.state_dict().items() if 'rel_pos' in key}
    state = from_mmmim(
        {f'backbone.{key}': value for key, value in ours.state_dict().items() if key not in tables}, 'mmpretrain'
    )
    state = {key.removeprefix('backbone.'): value for key, value in state.items()}
    for key, value in tables.items():
        state[key.replace('blocks', 'layers').replace('rel_pos.', '')] = value
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected and all('gamma' in key or 'relative_position_index' in key for key in missing)
    for key, parameter in theirs.named_parameters():
        if 'gamma' in key:
            torch.nn.init.ones_(parameter)
    theirs.eval()  # which gives None
    return theirs


@torch.no_grad()
def test_both_backbones_compute_the_same():
    torch.manual_seed(0)
    ours = DenseViT(**SIZES).eval()
    for parameter in ours.parameters():
        parameter.normal_(std=0.2)
    theirs, images = theirs_with_our_weights(ours), torch.randn(2, 3, 32, 32)
    for found, expected in zip(ours(images), theirs(images), strict=True):
        torch.testing.assert_close(found, expected, **FLOAT32)


def test_it_prints_the_ratio_for_each_precision(run_tool, capsys, tmp_path):
    assert run_tool('--out', str(tmp_path / 'o.json')) is None
    said, result = capsys.readouterr().out, json.loads((tmp_path / 'o.json').read_text())
    assert set(result['dtypes']) == {'bfloat16', 'float32'} and result['size'] == [32, 32]
    for dtype, found in result['dtypes'].items():
        medians = {}
        for name, turns in found['turns'].items():
            assert len(turns) == 3 and all(turn['backward'] > 0 and turn['optimizer'] > 0 for turn in turns)
            medians[name] = sorted(turn['step'] for turn in turns)[1]
        ratio = medians['mmmim'] / medians['mmseg']
        assert found['ours_over_mmseg'] == pytest.approx(ratio)
        assert re.search(rf'{dtype} +mmmim over mmseg: {ratio:.3f} of the step time', said)


@pytest.mark.parametrize(
    'args, message',
    [
        (['configs/downstream/segmentation/swin-b_upernet_160k.py'], "DenseViT with relative_positions='separate'"),
        (['configs/mae/vit-b_800e.py'], 'no config of a segmentor: its model is MAE'),
        (['--steps', '0'], 'at least 1'),
    ],
)
def test_mistakes_end_in_one_line(args, message, run_tool, capsys):
    code = run_tool(*args, shrink=False)
    said = capsys.readouterr()
    assert code and message in f'{code}{said.out}{said.err}' and 'Traceback' not in said.out + said.err
