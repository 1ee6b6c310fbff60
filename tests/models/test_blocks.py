"""Blocks that keep less for the backward pass compute what timm's do."""
import pytest
import torch
from timm.layers import Mlp
from torch.nn.utils import prune

from mmmim.models import blocks
from mmmim.models.blocks import RECOMPUTED_FROM, LeanMlp, build_blocks


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
    with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: found.setdefault(tensor.data_ptr(), tensor), lambda tensor: tensor), \
            torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        out = mlp(x.clone().requires_grad_())
    assert out.requires_grad
    return sum(tensor.numel() == size for tensor in found.values())


@pytest.mark.parametrize('dtype, autocast, tolerance', [
    (torch.float64, False, 1e-12), (torch.float32, False, 1e-5), (torch.float32, True, 1e-2)])
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


@pytest.mark.parametrize('frozen', [['fc2.weight'], ['fc2.bias'], ['fc1.weight', 'fc1.bias'],
                                    ['fc2.weight', 'fc2.bias']])
def test_frozen_layers(frozen):
    plain, lean, x = both()
    for mlp in (plain, lean):
        for name, parameter in mlp.named_parameters():
            parameter.requires_grad_(name not in frozen)
    for one, other in zip(run(lean, x), run(plain, x)):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize('change', ['hook', 'prune', 'replace'])
def test_a_layer_that_was_changed_is_called_as_it_is(change):
    plain, lean, x = both()
    seen = []
    for mlp in (plain, lean):
        if change == 'hook':
            mlp.fc2.register_forward_hook(lambda module, inputs, out: seen.append(module) or 2 * out)
        elif change == 'prune':
            prune.random_unstructured(mlp.fc2, 'weight', amount=0.5)
        else:
            mlp.fc2 = torch.nn.Sequential(mlp.fc2, torch.nn.Tanh())
    if change == 'prune':
        lean.load_state_dict(plain.state_dict())
    for one, other in zip(run(lean, x), run(plain, x)):
        torch.testing.assert_close(one, other)
    assert len(seen) == (2 if change == 'hook' else 0)


def test_compiled_by_dynamo():
    plain, lean, x = both()
    compiled = torch.compile(lean, backend='aot_eager', fullgraph=True)
    for one, other in zip(run(compiled, x), run(plain, x)):
        torch.testing.assert_close(one, other)


def test_wide_blocks_are_lean():
    wide, narrow = (build_blocks(width, 1, 2)[0].mlp for width in (RECOMPUTED_FROM, RECOMPUTED_FROM - 2))
    assert type(wide) is LeanMlp and type(narrow) is Mlp
    assert wide.state_dict().keys() == narrow.state_dict().keys()
