"""Batch normalisation across processes equals one process with the whole batch."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from mmmim.models import CrossRankBatchNorm1d, CrossRankBatchNorm2d

ROWS = (3, 8)  # of each process


def run(norm, x, weight):
    """Two training passes, the gradient of the second, then evaluation."""
    norm(x.flip(1) * 3).sum()
    x = x.clone().requires_grad_()
    out = norm(x)
    (out.square() * weight).sum().backward()
    result = dict(
        out=out.detach(),
        x_grad=x.grad,
        weight_grad=norm.weight.grad,
        bias_grad=norm.bias.grad,
        mean=norm.running_mean,
        var=norm.running_var,
        steps=norm.num_batches_tracked,
    )
    with torch.no_grad():
        result['eval'] = norm.eval()(x)
    return result


def make(cls=CrossRankBatchNorm1d, dtype=torch.float64, **kwargs):
    """A norm, and rows (maps, for a two-dimensional one) for it and for the loss."""
    generator = torch.Generator().manual_seed(0)
    norm = cls(5, **kwargs).to(dtype)
    norm.weight.data.normal_(generator=generator)
    norm.bias.data.normal_(generator=generator)
    shape = (sum(ROWS), 5) if '1d' in cls.__name__ else (sum(ROWS), 5, 4, 3)
    x, weight = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return norm, (x * 2 + 7).to(dtype), weight.to(dtype)


CASES = dict(
    float64={},
    average=dict(momentum=None),
    float32=dict(dtype=torch.float32),
    maps=dict(cls=CrossRankBatchNorm2d),
    maps_average=dict(cls=CrossRankBatchNorm2d, momentum=None),
)
TORCHS = {CrossRankBatchNorm1d: nn.BatchNorm1d, CrossRankBatchNorm2d: nn.BatchNorm2d}


def make_torchs(**kwargs):
    return make(**{**kwargs, 'cls': TORCHS[kwargs.get('cls', CrossRankBatchNorm1d)]})


def worker(rank, folder):
    os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    results = {}
    for name, kwargs in CASES.items():
        norm, x, weight = make(**kwargs)
        results[name] = run(norm, x.split(ROWS)[rank], weight.split(ROWS)[rank])
    torch.save(results, f'{folder}/{rank}.pt')
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    mp.spawn(worker, (str(folder),), nprocs=2)
    return [torch.load(folder / f'{rank}.pt') for rank in range(2)]


@pytest.mark.runs
@pytest.mark.parametrize('case', CASES)
def test_two_processes_equal_one(two_processes, case):
    one, two = run(*make_torchs(**CASES[case])), [results[case] for results in two_processes]
    tolerance = dict(rtol=0, atol=2e-4 if case == 'float32' else 1e-10)
    for key in ('out', 'x_grad', 'eval'):
        torch.testing.assert_close(torch.cat([part[key] for part in two]), one[key], **tolerance)
    for key in ('mean', 'var', 'steps'):
        for part in two:
            torch.testing.assert_close(part[key], one[key], **tolerance)
    for key in ('weight_grad', 'bias_grad'):  # local; the model wrapper adds them up
        torch.testing.assert_close(two[0][key] + two[1][key], one[key], **tolerance)


@pytest.mark.parametrize('cls', TORCHS)
@pytest.mark.parametrize('kwargs', [{}, dict(momentum=None), dict(eps=1e-6), dict(affine=True, momentum=0.3)], ids=str)
def test_one_process_equals_torchs_module(cls, kwargs):
    ours, theirs = run(*make(cls=cls, **kwargs)), run(*make_torchs(cls=cls, **kwargs))
    for key, value in theirs.items():
        assert torch.equal(ours[key], value), key
