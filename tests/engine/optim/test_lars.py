"""LARS against hand-computed steps and against mmpretrain's where the two agree."""

import copy

import pytest
import torch
from mmengine.registry import OPTIMIZERS
from mmpretrain.engine.optimizers import LARS as Mmpretrain
from torch import nn

from mmmim.engine.optim import LARS


def parameter(values, grad):
    p = nn.Parameter(torch.tensor(values))
    p.grad = torch.tensor(grad)
    return p


def test_a_matrix_moves_by_its_own_size():
    """|w| = 5, |g| = 2: the gradient is scaled to 0.001 * 5 = 0.005, whatever its size."""
    w = parameter([[3.0, 4.0]], [[0.0, 2.0]])
    LARS([w], lr=10.0, momentum=0.0).step()
    assert w.tolist() == [[3.0, pytest.approx(4.0 - 10 * 0.005)]]


def test_biases_are_neither_scaled_nor_decayed():
    b = parameter([3.0, 4.0], [0.0, 2.0])
    LARS([b], lr=0.1, momentum=0.0, weight_decay=0.5).step()
    assert b.tolist() == [3.0, pytest.approx(3.8)]


def test_momentum_does_not_carry_the_rate():
    """Two steps with gradient 1: the buffer is 1, then 1.9; a rate that drops counts at once."""
    b = parameter([0.0], [1.0])
    optimizer = LARS([b], lr=1.0, momentum=0.9)
    optimizer.step()
    assert b.item() == pytest.approx(-1.0)
    optimizer.param_groups[0]['lr'] = 0.1
    optimizer.step()
    assert b.item() == pytest.approx(-1.0 - 0.1 * 1.9)


def test_weight_decay_of_a_matrix_counts_before_scaling():
    w = parameter([[3.0, 4.0]], [[0.0, 0.0]])
    LARS([w], lr=1.0, momentum=0.0, weight_decay=0.1).step()  # the update is along w, of size 0.005
    assert w.tolist() == [[pytest.approx(3.0 - 0.003), pytest.approx(4.0 - 0.004)]]


def test_zeros_are_moved_without_scaling():
    w = parameter([[0.0, 0.0]], [[1.0, 0.0]])
    LARS([w], lr=0.5).step()
    assert w.tolist() == [[-0.5, 0.0]] and w.isfinite().all()


def test_equals_mmpretrain_for_a_matrix_at_a_constant_rate():
    torch.manual_seed(0)
    start = torch.randn(5, 7, dtype=torch.float64)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = LARS([ours], lr=0.3), Mmpretrain([theirs], lr=0.3, momentum=0.9)
    for _ in range(10):
        gradient = torch.randn(5, 7, dtype=torch.float64)
        for p, optimizer in zip((ours, theirs), optimizers):
            p.grad = gradient.clone()
            optimizer.step()
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-9)
    assert not torch.allclose(ours, start, atol=1e-3)


def test_state_survives_a_checkpoint():
    torch.manual_seed(0)
    gradients = torch.randn(6, 4, 4)

    def run(param, optimizer, steps):
        for gradient in steps:
            param.grad = gradient.clone()
            optimizer.step()

    whole = nn.Parameter(torch.ones(4, 4))
    optimizer = LARS([whole], lr=1.0)
    run(whole, optimizer, gradients[:3])
    half = nn.Parameter(whole.detach().clone())
    resumed = LARS([half], lr=1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(whole, optimizer, gradients[3:])
    run(half, resumed, gradients[3:])
    assert torch.equal(whole, half)


def test_is_registered_and_refuses_negative_values():
    built = OPTIMIZERS.build(dict(type='mmmim.LARS', params=[nn.Parameter(torch.ones(1))], lr=0.1))
    assert isinstance(built, LARS)
    with pytest.raises(ValueError, match='momentum=-1'):
        LARS([nn.Parameter(torch.ones(1))], lr=0.1, momentum=-1)
