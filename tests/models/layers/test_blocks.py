"""Blocks that keep less for the backward pass compute what timm's do."""

import shutil

import pytest
import torch
from timm.layers import Mlp
from torch import nn
from torch.nn.utils import prune

from mmmim.models.layers import blocks
from mmmim.models.layers.blocks import RECOMPUTED_FROM, LeanMlp, build_blocks, run_blocks
from mmmim.models.masking import random_masking
from mmmim.registry import MODELS


def both(dtype=torch.float32, width=24):
    """timm's MLP and ours with the same weights, and an input."""
    torch.manual_seed(0)
    plain, lean = Mlp(width, 4 * width).to(dtype), LeanMlp(width, 4 * width).to(dtype)
    lean.load_state_dict(plain.state_dict())
    return plain, lean, torch.randn(2, 5, width, dtype=dtype)


def run(mlp, x, autocast=False):
    """Output, and the gradients of the input and of all trained parameters."""
    x = x.clone().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        out = mlp(x)
    trained = [parameter for parameter in mlp.parameters() if parameter.requires_grad]
    return out, *torch.autograd.grad(out.square().sum(), [x, *trained])


def kept(mlp, x, size, autocast=False):
    """How many different tensors of a size are kept for the backward pass."""
    found = {}  # with the tensors themselves, so that no address is used again
    with (
        torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: found.setdefault(tensor.data_ptr(), tensor), lambda tensor: tensor
        ),
        torch.autocast('cpu', torch.bfloat16, enabled=autocast),
    ):
        out = mlp(x.clone().requires_grad_())
    assert out.requires_grad
    return sum(tensor.numel() == size for tensor in found.values())


@pytest.mark.parametrize(
    'dtype, autocast, tolerance',
    [(torch.float64, False, 1e-12), (torch.float32, False, 1e-5), (torch.float32, True, 1e-2)],
)
def test_outputs_and_gradients_are_those_of_timm(dtype, autocast, tolerance):
    plain, lean, x = both(dtype)
    expected, found = run(plain, x, autocast), run(lean, x, autocast)
    assert torch.equal(found[0], expected[0]) and found[0].dtype == (torch.bfloat16 if autocast else dtype)
    assert len(found) == len(expected) == 6
    for one, other in zip(found, expected):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_second_derivatives():
    _, lean, x = both(torch.float64, width=3)
    inputs = x[:1, :2].clone().requires_grad_(), lean.fc2.weight.detach().clone().requires_grad_()

    def function(x, weight):
        return blocks._LinearOfGELU.apply(lean.fc1(x), weight, lean.fc2.bias)

    assert torch.autograd.gradcheck(function, inputs) and torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize('autocast', [False, True])
def test_the_hidden_values_are_kept_once(autocast):
    plain, lean, x = both()
    hidden = 2 * 5 * 4 * 24
    assert kept(plain, x, hidden, autocast) == 2 and kept(lean, x, hidden, autocast) == 1
    with torch.no_grad():
        assert torch.equal(lean(x), plain(x))


@pytest.mark.parametrize(
    'frozen', [['fc2.weight'], ['fc2.bias'], ['fc1.weight', 'fc1.bias'], ['fc2.weight', 'fc2.bias']]
)
def test_frozen_layers(frozen):
    plain, lean, x = both()
    for mlp in (plain, lean):
        for name, parameter in mlp.named_parameters():
            parameter.requires_grad_(name not in frozen)
    for one, other in zip(run(lean, x), run(plain, x)):
        torch.testing.assert_close(one, other)


CHANGES = {
    'hook': lambda mlp, seen: mlp.fc2.register_forward_hook(lambda module, inputs, out: seen.append(module) or 2 * out),
    'hook of the activation': lambda mlp, seen: mlp.act.register_forward_hook(
        lambda module, inputs, out: seen.append(module) or 2 * out
    ),
    'prune': lambda mlp, seen: prune.l1_unstructured(mlp.fc2, 'weight', amount=0.5),
    'replace': lambda mlp, seen: setattr(mlp, 'fc2', torch.nn.Sequential(mlp.fc2, torch.nn.Tanh())),
    'tanh': lambda mlp, seen: setattr(mlp, 'act', torch.nn.GELU('tanh')),
    'relu': lambda mlp, seen: setattr(mlp, 'act', torch.nn.ReLU()),
    'dropout': lambda mlp, seen: setattr(mlp, 'drop1', torch.nn.Dropout(0.5)),
    'norm': lambda mlp, seen: setattr(mlp, 'norm', torch.nn.LayerNorm(4 * 24)),
    'no bias': lambda mlp, seen: setattr(mlp.fc2, 'bias', None),
}


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('change', CHANGES)
def test_a_part_that_was_changed_is_called_as_it_is(change, autocast):
    plain, lean, x = both()
    seen = []
    results = []
    for mlp in (plain, lean):
        CHANGES[change](mlp, seen)
        torch.manual_seed(1)
        results.append(run(mlp, x, autocast))
    assert len(results[0]) == len(results[1])
    for one, other in zip(*results):
        assert torch.equal(one, other)
    assert len(seen) == (2 if change.startswith('hook') else 0)


def test_an_adapter_that_leaves_the_type_of_autocast():
    plain, lean, x = both()
    for mlp in (plain, lean):
        mlp.fc1.register_forward_hook(lambda module, inputs, out: out.float())
    for one, other in zip(run(lean, x, autocast=True), run(plain, x, autocast=True)):
        assert torch.equal(one, other)


def test_gradients_for_each_sample_and_for_several_outputs():
    plain, lean, x = both(torch.float64)
    results = []
    for mlp in (plain, lean):
        weights = {name: parameter.detach() for name, parameter in mlp.named_parameters()}

        def loss(given, sample):
            return torch.func.functional_call(mlp, given, (sample,)).square().sum()

        each = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, x)
        images = x.clone().requires_grad_()
        out = mlp(images)
        (batched,) = torch.autograd.grad(
            out, images, torch.stack([torch.ones_like(out), out.detach()]), is_grads_batched=True
        )
        results.append([*each.values(), batched])
    for one, other in zip(*results):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    'export', [lambda mlp, x: torch.jit.trace(mlp, x), lambda mlp, x: torch.jit.script(mlp)], ids=['trace', 'script']
)
def test_exported_by_torchscript(export, tmp_path):
    _, lean, x = both()
    export(lean.eval(), x).save(str(tmp_path / 'mlp.pt'))
    assert torch.equal(torch.jit.load(str(tmp_path / 'mlp.pt'))(x), lean(x))


def test_compiled_by_dynamo():
    plain, lean, x = both()
    compiled = torch.compile(lean, backend='aot_eager', fullgraph=True)
    for one, other in zip(run(compiled, x), run(plain, x)):
        torch.testing.assert_close(one, other)


def test_wide_blocks_are_lean():
    wide, narrow = (build_blocks(width, 1, 2)[0].mlp for width in (RECOMPUTED_FROM, RECOMPUTED_FROM - 2))
    assert type(wide) is LeanMlp and type(narrow) is Mlp
    assert wide.state_dict().keys() == narrow.state_dict().keys()


def test_shapes_on_the_meta_device():
    block = build_blocks(RECOMPUTED_FROM, 1, 2).to('meta')
    x = torch.empty(2, 5, RECOMPUTED_FROM, device='meta', requires_grad=True)
    assert block[0](x).shape == blocks.run_blocks(block, x).shape == x.shape


@pytest.mark.parametrize(
    'backend',
    [
        'aot_eager',
        pytest.param(
            True, marks=pytest.mark.skipif(shutil.which('g++') is None, reason='Inductor needs a C++ compiler: no g++')
        ),
    ],
    ids=['aot_eager', 'inductor'],
)
def test_compiled_blocks_compute_the_same(backend, monkeypatch):
    monkeypatch.setenv('CXX', 'g++')
    plain, compiled = build_blocks(24, 2, 2), build_blocks(24, 2, 2, compiled=backend)
    compiled.load_state_dict(plain.state_dict())
    x = torch.randn(2, 5, 24)
    before = torch._dynamo.utils.counters['frames']['ok']
    for one, other in zip(run(nn.Sequential(*compiled), x), run(nn.Sequential(*plain), x)):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters['frames']['ok'] > before


def test_compiling_without_a_compiler_is_one_sentence(monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(
        RuntimeError, match='compiled=True needs a C.. compiler, and there is no no-such-compiler: inst'
    ):
        build_blocks(24, 1, 2, compiled=True)
    assert build_blocks(24, 1, 2, compiled='aot_eager')


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('compiled', [False, 'aot_eager'])
def test_checkpointed_blocks_are_the_same_bit_by_bit(dtype, compiled, monkeypatch):
    """With stochastic depth and autocast, in two backward passes through one graph."""
    monkeypatch.setattr(blocks, 'RECOMPUTED_FROM', 1)
    torch._dynamo.reset()
    results = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        model = build_blocks(24, 2, 2, 4.0, 0.5, compiled, checkpointed).train()
        x = torch.randn(8, 5, 24, requires_grad=True)
        with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
            loss = run_blocks(model, x, first=2).float().square().sum()
        drawn = torch.rand(1)
        with torch._functorch.config.patch(donated_buffer=False):  # allow_retained_graphs
            inside = torch.autograd.grad(loss, [x], retain_graph=True)
            loss.backward()
        results.append([loss, drawn, torch.rand(1), *inside, x.grad, *(p.grad for p in model.parameters())])
    for one, other in zip(*results):
        assert torch.equal(one, other) and one.isfinite().all()


SMALL = dict(arch=dict(embed_dim=16, depth=2, num_heads=2), img_size=16, patch_size=4)
CONV = dict(arch=dict(embed_dims=(8, 8, 16), depths=(1, 1, 2), num_heads=2), img_size=16, patch_size=4)
SWIN = dict(arch=dict(embed_dim=8, depths=(2, 2), num_heads=(1, 2)), patch_size=2, window_size=4)
DECODER = dict(in_dim=16, grid_size=(4, 4), out_dim=48, embed_dim=16, depth=2, num_heads=2)


@pytest.mark.parametrize(
    'part',
    [
        dict(SMALL, type='MaskedViT'),
        dict(SMALL, type='MaskedRelativeViT'),
        dict(SMALL, type='RelativeViT'),
        dict(CONV, type='ConvViT'),
        dict(SWIN, type='MaskedSwin', img_size=16),
        dict(SMALL, type='DenseViT', out_indices=[1]),
        dict(CONV, type='DenseConvViT'),
        dict(SWIN, type='DenseSwin', out_indices=[1]),
        dict(DECODER, type='MAEDecoder'),
        dict(type='DrawingHead', img_size=16, patch_size=4, embed_dim=16, num_heads=2),
    ],
    ids=lambda part: part['type'],
)
def test_a_part_with_blocks_keeps_little_of_them(part, monkeypatch):
    """And computes them once more only where a backward pass can follow."""
    key = 'with_cp' if part['type'].startswith('Dense') else 'activation_checkpointing'
    mask, images = random_masking(torch.rand(2, 16), 4), torch.rand(2, 3, 16, 16)
    arguments = dict(MAEDecoder=(torch.rand(2, 5, 16), mask), DrawingHead=(images, mask, torch.rand(2, 16)))
    counts, outputs = [], []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        module, packed = MODELS.build({**part, key: checkpointed}), []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: packed.append(tensor.shape), lambda x: x):  # noqa: B023
            output = module(*arguments.get(part['type'], (images,)))
        counts.append(len(packed))
        outputs.append(output[-1] if isinstance(output, tuple) else output)
    assert torch.equal(*outputs) and counts[1] < counts[0] / 2
    monkeypatch.setattr(blocks, 'checkpoint', None)
    with torch.no_grad():
        module(*arguments.get(part['type'], (images,)))
