"""The counter of operations against counts by hand, torch's own counter, and itself with another attention kernel."""

import json
import runpy
import sys

import pytest
import torch
import toy_algorithm  # noqa: F401  (registers the two-phase method)
from harness import ROOT, make_config, save_config
from mmcv.transforms import BaseTransform
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from flops import FlopCounter, count_step
from mmmim.models.layers import blocks
from mmmim.registry import TRANSFORMS
from workload import build, set_image_size, settle, synthetic_batch

CPU = torch.device('cpu')
# sizes of the harness' two-block model: 16 patches of 4x4 pixels, 4 of them visible
ENCODER, DECODER = dict(width=32, depth=2), dict(width=16, depth=1)
PATCH = 4 * 4 * 3


@TRANSFORMS.register_module(force=True)
class LargeAndSmallView(BaseTransform):
    """Two views of a packed image: as it is, and half as large."""

    def transform(self, results):
        image = results['inputs']
        return dict(results, inputs=[image, image[:, ::2, ::2].contiguous()])


def block_macs(tokens, width, depth):
    """(linear, attention) multiply-adds of transformer blocks: qkv 3, projection 1, MLP 4 + 4 times width squared."""
    return depth * tokens * 12 * width**2, depth * 2 * tokens**2 * width


def run_tool(monkeypatch, *args):
    """tools/benchmarks/get_flops.py in this process; what it exits with, or None."""
    monkeypatch.setattr(sys, 'argv', ['get_flops.py', *map(str, args)])
    try:
        runpy.run_path(str(ROOT / 'tools/benchmarks/get_flops.py'), run_name='__main__')
    except SystemExit as end:
        return end.code


def tiny(folder, images, dtype='float32', batch=2, **overrides):
    cfg = make_config(folder / 'run', images, **overrides)
    settle(cfg, batch, dtype)
    return cfg


def counted(cfg, batch=2):
    algorithm, optim_wrapper = build(cfg, CPU)
    return count_step(algorithm, optim_wrapper, synthetic_batch(cfg, batch), batch)


def two_phases(folder, images):
    optimizer = dict(type='AutocastOptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
    cfg = make_config(folder / 'run', images, **{'model.type': 'TwoPhaseToy'})
    cfg.optim_wrapper = dict(
        constructor='ToyConstructor', type='OptimWrapperDict', generator=optimizer, judge=dict(optimizer)
    )
    settle(cfg, 2, 'float32')
    return cfg


def test_mae_vit_b_by_hand(tmp_path, monkeypatch, capsys):
    """49 of 196 patches and the class token through the encoder, 197 tokens through the decoder, whose last MLP
    and prediction are for the 147 removed patches alone."""
    out = tmp_path / 'flops.json'
    assert run_tool(monkeypatch, ROOT / 'configs/mae/vit-b_800e.py', '--batch', 1, '--out', out) is None
    result = json.loads(out.read_text())
    encoder, encoder_attention = block_macs(50, 768, 12)
    decoder, decoder_attention = block_macs(197, 512, 8)
    last_mlp = 50 * 8 * 512**2  # of visible patches and the class token: left out
    projection = 49 * 768 * 768  # of the visible patches: P * P * C = 768 values to 768
    embed, prediction = 50 * 768 * 512, 147 * 512 * 768
    forward, backward = result['total']['flops']['forward'], result['total']['flops']['backward']
    linear = encoder + projection + decoder - last_mlp + embed + prediction
    assert forward['linear'] == 2 * linear
    assert forward['attention'] == 2 * (encoder_attention + decoder_attention)
    # a gradient for the weight and one for the input, which the images do not need
    assert backward['linear'] == 2 * (2 * linear - projection)
    assert backward['attention'] == 2 * forward['attention']
    parts = result['parts']
    assert parts['backbone']['flops']['forward']['linear'] == 2 * (encoder + projection)
    assert parts['neck']['flops']['backward']['linear'] == 4 * (decoder - last_mlp + embed + prediction)
    # published: 9.4e9 multiply-adds without attention products, of all 196 patches
    of_all = linear + last_mlp + 49 * 512 * 768 + 147 * 768 * 768
    assert linear < of_all == pytest.approx(9.4e9, abs=0.05e9)
    # 111.654M are published, without class token (768), mask token (512) and positions
    bare = 768 + 512 + 197 * (768 + 512)
    assert result['total']['parameters'] - bare == pytest.approx(111.654e6, abs=500)
    attention = encoder_attention + decoder_attention
    assert capsys.readouterr().out.splitlines()[-1] == (
        f'Forward: {(linear + attention) / 1e9:.3f} GMACs, {linear / 1e9:.3f} without the products of attention.'
    )


def test_fused_and_plain_attention_count_the_same(tmp_path, image_root, monkeypatch):
    by_dtype = [counted(tiny(tmp_path, image_root, dtype)) for dtype in ('float32', 'bfloat16')]
    by_kernel = []
    for fused in (True, False):
        monkeypatch.setattr(blocks, 'prefers_fused_attention', lambda *_, fused=fused: fused)
        by_kernel.append(counted(tiny(tmp_path, image_root)))
    counts = [flops.counts for flops in by_dtype + by_kernel]
    assert counts[0] == counts[1] == counts[2] == counts[3]
    attention = block_macs(5, **ENCODER)[1] + block_macs(17, **DECODER)[1]
    assert by_dtype[0].total('forward', 'attention') == 2 * attention
    assert by_dtype[0].total('backward', 'attention') == 4 * attention


def test_registers_and_class_tokens_count_as_tokens(tmp_path, image_root):
    added = dict(num_class_tokens=2, num_register_tokens=3)  # four more than the one class token
    flops = counted(tiny(tmp_path, image_root, **{f'model.backbone.{key}': value for key, value in added.items()}))
    assert flops.total('forward', 'attention') == 2 * (block_macs(9, **ENCODER)[1] + block_macs(21, **DECODER)[1])
    assert flops.by_part(2, 'forward', 'linear')['backbone.blocks'] == 2 * block_macs(9, **ENCODER)[0]


@pytest.mark.parametrize('make', [tiny, two_phases])
def test_total_is_that_of_torchs_counter(make, tmp_path, image_root, monkeypatch):
    monkeypatch.setattr(blocks, 'prefers_fused_attention', lambda *_: False)  # torch does not know the CPU's kernel
    cfg = make(tmp_path, image_root)
    algorithm, optim_wrapper = build(cfg, CPU)
    data = synthetic_batch(cfg, 2)
    with FlopCounterMode(display=False) as theirs:
        algorithm.train_step(data, optim_wrapper)
    assert count_step(algorithm, optim_wrapper, data, 2).total() * 2 == theirs.get_total_flops()


def test_shared_encoder_of_two_phases_by_hand(tmp_path, image_root):
    """Phase one: visible patches. Phase two: whole real and whole painted images, neither of which needs a gradient."""
    flops = counted(two_phases(tmp_path, image_root))
    encoder = block_macs(5, **ENCODER)[0] + 2 * block_macs(17, **ENCODER)[0]
    projection = (4 + 2 * 16) * PATCH * 32
    decoder = block_macs(17, **DECODER)[0] + 5 * 32 * 16 + 16 * 16 * PATCH
    judge = 2 * 32  # the linear layer, on the real and on the painted image
    assert flops.by_part(1, 'forward', 'linear') == {
        'backbone': 2 * (encoder + projection),
        'neck': 2 * decoder,
        'judge': 2 * judge,
    }
    assert flops.by_part(1, 'backward', 'linear') == {
        'backbone': 2 * (2 * encoder + projection),
        'neck': 4 * decoder,
        'judge': 4 * judge,
    }
    assert flops.by_part(2, 'forward')['backbone.blocks'] == 2 * sum(
        sum(block_macs(tokens, **ENCODER)) for tokens in (5, 17, 17)
    )


def test_counting_leaves_weights_and_optimizer_alone(tmp_path, image_root):
    cfg = two_phases(tmp_path, image_root)
    algorithm, optim_wrapper = build(cfg, CPU)
    before = {name: p.clone() for name, p in algorithm.named_parameters()}
    count_step(algorithm, optim_wrapper, synthetic_batch(cfg, 2), 2)
    assert all(torch.equal(before[name], p) for name, p in algorithm.named_parameters())
    assert all(p.grad is None for p in algorithm.parameters())
    assert not any(wrapper.optimizer.state for wrapper in optim_wrapper.values())
    algorithm.train_step(synthetic_batch(cfg, 2), optim_wrapper)  # and steps again afterwards
    assert any(not torch.equal(before[name], p) for name, p in algorithm.named_parameters())


def test_operations_without_autograd_count_as_forward():
    layer = torch.nn.Sequential(torch.nn.Linear(8, 4))
    for context in (torch.no_grad, torch.inference_mode):
        with FlopCounter(layer) as counter, context():
            layer(torch.zeros(3, 8))
        assert counter.counts == {('0', 'forward', 'linear'): 2 * 3 * 8 * 4}


def test_what_a_gradient_checkpoint_computes_again_is_backward():
    layers = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4))
    images = torch.zeros(3, 8)
    with FlopCounter(layers) as counter:
        checkpoint(layers, images, use_reentrant=False).sum().backward()
    first, second = 2 * 3 * 8 * 8, 2 * 3 * 8 * 4
    assert counter.counts == {
        ('0', 'forward', 'linear'): first,
        ('0', 'backward', 'linear'): first + first,  # again; gradient of the weight
        # the input, which is all that was wanted, is there: not again; gradients of weight and input
        ('1', 'forward', 'linear'): second,
        ('1', 'backward', 'linear'): 2 * second,
    }


def test_image_size_and_depth(tmp_path, image_root, monkeypatch):
    config = save_config(make_config(tmp_path / 'run', image_root), tmp_path / 'config.py')
    out = tmp_path / 'flops.json'
    assert run_tool(monkeypatch, config, '--img-size', 32, '--depth', 2, '--out', out) is None
    result = json.loads(out.read_text())
    assert result['img_size'] == [32, 32]
    # 64 patches, 16 of them visible, for which, and for the class token, the decoder leaves out the last MLP
    assert result['parts']['backbone.blocks']['flops']['forward']['linear'] == 2 * block_macs(17, **ENCODER)[0]
    assert result['parts']['neck.decoder_blocks']['flops']['forward']['linear'] == 2 * (
        block_macs(65, **DECODER)[0] - 17 * 8 * DECODER['width'] ** 2
    )
    parts = result['parts'].values()
    assert sum(part['parameters'] for part in parts) == result['total']['parameters']
    for phase in ('forward', 'backward'):
        for kind in ('linear', 'attention'):
            assert sum(part['flops'][phase][kind] for part in parts) == result['total']['flops'][phase][kind]


def test_views_of_the_pipeline_follow_the_image_size(tmp_path, image_root):
    cfg = tiny(tmp_path, image_root, batch=3)
    cfg.train_dataloader.dataset.pipeline.append(dict(type='LargeAndSmallView'))
    set_image_size(cfg, 32)
    data = synthetic_batch(cfg, 3)
    assert [list(view.shape) for view in data['inputs']] == [[3, 3, 32, 32], [3, 3, 16, 16]]
    assert all(view.dtype == torch.uint8 for view in data['inputs'])
    assert len({sample.seed for sample in data['data_samples']}) == 3
    assert not torch.equal(data['inputs'][0][0], data['inputs'][0][1])


def test_a_target_that_has_to_be_fitted_and_compiled_blocks(tmp_path, image_root, monkeypatch):
    cfg = make_config(
        tmp_path / 'run',
        image_root,
        **{'model.target': dict(type='PCATarget', num_components=6), 'model.backbone.compiled': True},
    )
    out = tmp_path / 'flops.json'
    assert run_tool(monkeypatch, save_config(cfg, tmp_path / 'config.py'), '--out', out) is None
    parts = json.loads(out.read_text())['parts']
    assert parts['target']['flops']['forward']['linear'] == 2 * 16 * PATCH * 6
    assert parts['target']['flops']['backward']['linear'] == 0
    assert parts['backbone']['flops']['forward']['linear'] == 2 * (block_macs(5, **ENCODER)[0] + 4 * PATCH * 32)


@pytest.mark.parametrize(
    'args, words',
    [
        (['--img-size', 30], ['30x30', 'divide']),
        (['--img-size', 0], ['--img-size 0']),
        (['--batch', 0], ['--batch 0']),
        (['--cfg-options', 'model.neck.depht=3'], ['depht', 'depth']),
        (['--cfg-options', 'optim_wrapper=None'], ['optim_wrapper', 'pre-training']),
    ],
)
def test_bad_input_is_told_in_a_line(args, words, tmp_path, image_root, monkeypatch):
    config = save_config(make_config(tmp_path / 'run', image_root), tmp_path / 'config.py')
    message = run_tool(monkeypatch, config, *args)
    for word in words:
        assert word in message
