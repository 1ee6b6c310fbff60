"""Loading workers fit into the shared memory of the machine."""

import shutil
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from harness import make_config, train_here
from mmengine.config import Config
from mmengine.structures import BaseDataElement, PixelData
from torch.utils.data import DataLoader, Dataset

from mmmim import shared_memory
from mmmim.engine import fit_workers as loaders
from mmmim.engine.fit_workers import fit_loaders, fit_workers, measured, tensor_bytes
from mmmim.shared_memory import LARGEST, Load, fitted, free_bytes, gib, needed, option

GIB = 2**30
Usage = namedtuple('Usage', 'total used free')


class Samples(Dataset):
    """Samples of given shapes, which draw random numbers as augmentation does."""

    def __init__(self, *samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        torch.rand(3), np.random.rand(3)
        sample = self.samples[index]
        if isinstance(sample, Exception):
            raise sample
        return sample


def image(channels=3, side=32, dtype=torch.uint8):
    return dict(inputs=torch.zeros(channels, side, side, dtype=dtype))


def loader(*samples, batch=8, workers=4, **options):
    return DataLoader(Samples(*samples), batch, num_workers=workers, **options)


@pytest.fixture
def room(monkeypatch):
    """Sets what is free."""
    return lambda size: monkeypatch.setattr(loaders, 'free_bytes', lambda: size)


def test_what_cmaes_imagenet_config_needs():
    views = 2 * 3 * 224 * 224
    assert gib(needed([Load('training', 10, 2, 512 * views)], 8)) == '23.0 GiB'
    assert LARGEST.batch_bytes == 512 * views and gib(needed([LARGEST], 8)) == '9.2 GiB'
    assert option(9 * GIB) == '--shm-size=10g'  # a tenth stays free


def test_a_batch_is_measured_by_its_tensors():
    assert tensor_bytes(image()) == 3 * 32 * 32
    assert tensor_bytes(image(13, dtype=torch.int16)) == 13 * 32 * 32 * 2  # 16 bits, many channels
    assert tensor_bytes(dict(inputs=[torch.zeros(3, 4, 4)] * 2, data_samples=None)) == 2 * 48 * 4  # two views
    mask = BaseDataElement(gt_sem_seg=PixelData(data=torch.zeros(1, 8, 8, dtype=torch.int64)), metainfo=dict(name='a'))
    assert tensor_bytes([mask, 'text', np.zeros(9), b'an encoded crop']) == 8 * 8 * 8
    assert measured('training', loader(image(side=8), image(side=16))).batch_bytes == 8 * 3 * 16 * 16  # the largest
    assert measured('training', loader(image(), workers=0)) is None
    assert measured('training', loader(OSError('broken'))) is None


def test_measuring_draws_no_random_number_of_the_run():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    measured('training', loader(image()))
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])


def test_fewer_workers_then_fewer_batches():
    loads = [Load('training', 8, 2, 100), Load('validation', 2, 2, 100)]
    assert fitted(loads, 2000) == loads
    assert [load.workers for load in fitted(loads, 1000)] == [4, 1]
    assert [(load.workers, load.prefetch) for load in fitted(loads, 300)] == [(1, 1), (1, 1)]
    assert fitted([Load('training', 1, 2, 100)], 10) == [Load('training', 1, 1, 100)]


SIZE = 8 * 3 * 32 * 32  # of a batch


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(loaders, 'print_log', lambda line, *_: lines.append(line))
    return lines


def test_nothing_changes_where_it_fits(room, said):
    for size in (11 * SIZE, None):  # a quarter stays free; no limit that is known
        room(size)
        one = loader(image())
        assert fit_workers('training', one) == Load('training', 4, 2, SIZE)
        assert (one.num_workers, one.prefetch_factor) == (4, 2) and not said


def test_workers_are_lowered_with_a_line(room, said):
    room(11 * SIZE)
    one = loader(image(), workers=6)
    held = fit_workers('training', one)
    assert one.num_workers == held.workers == 4
    assert 'workers of training are lowered from 6 to 4' in said[0]
    assert '--shm-size=1g' in said[0] and 'bus error' not in said[0]
    another = loader(image(), workers=2)
    fit_workers('validation', another, [held])  # together
    assert (another.num_workers, another.prefetch_factor) == (1, 1)
    assert 'workers of validation are lowered from 2 to 1; prefetch_factor of validation from 2 to 1' in said[1]
    assert len([*one]) == len([*another]) == 1  # and they load


def test_a_batch_that_does_not_fit_at_all_is_said(room, said):
    room(SIZE)
    one = loader(image())
    fit_workers('training', one)
    assert (one.num_workers, one.prefetch_factor) == (1, 1) and 'may still die of it' in said[0]


def test_each_loader_of_a_runner_is_fitted_where_it_is_built(room, said):
    """Before a loop asks for its first batch: MMEngine's loop over iterations does so while it is built."""
    room(11 * SIZE)
    data = {name: dict(dataset=dict(type='A', split=name)) for name in ('train', 'val')}
    cfg = Config({f'{name}_dataloader': loader for name, loader in data.items()})
    runner = SimpleNamespace(cfg=cfg, build_dataloader=lambda dataloader, seed=None: loader(image(), workers=6))
    fit_loaders(runner)
    wrapped = dict(dataset=dict(type='mmmim.SeededDataset', dataset=data['train']['dataset']))
    assert runner.build_dataloader(wrapped, seed=1).num_workers == 4
    assert runner.build_dataloader(data['val']).num_workers == 1
    assert 'workers of training are lowered' in said[0] and 'workers of validation are lowered' in said[1]


def test_processes_share_what_the_smallest_machine_has(room, said, monkeypatch):
    room(100 * SIZE)
    monkeypatch.setattr(loaders, 'get_world_size', lambda: 16)
    monkeypatch.setattr(loaders, 'all_gather_object', lambda mine: [mine, 22 * SIZE, None])
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')  # of 16
    one = loader(image(), workers=4)
    fit_workers('training', one)
    assert one.num_workers == 2  # 4 processes x 2 workers x 2 batches, of three quarters of 22


def test_limits_are_free_space_free_memory_and_the_container(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: Usage(9, 1, 8 * GIB))
    meminfo, group = tmp_path / 'meminfo', tmp_path
    where = dict(group=str(group), meminfo=str(meminfo))
    assert free_bytes(**where) == 8 * GIB
    meminfo.write_text('MemTotal:       67108864 kB\nMemAvailable:   6291456 kB\n')
    assert free_bytes(**where) == 6 * GIB
    (group / 'memory.max').write_text('max\n')
    assert free_bytes(**where) == 6 * GIB
    (group / 'memory.max').write_text(f'{4 * GIB}\n')
    (group / 'memory.stat').write_text(f'anon {GIB}\nfile {3 * GIB}\nshmem {GIB // 2}\n')
    assert free_bytes(**where) == 2.5 * GIB
    monkeypatch.setattr(shared_memory.sys, 'platform', 'darwin')
    assert free_bytes(**where) is None


def test_without_shared_memory_workers_are_an_error_and_none_are_not(monkeypatch):
    def missing():
        raise FileNotFoundError(2, 'No such file or directory', '/dev/shm')

    monkeypatch.setattr(loaders, 'free_bytes', missing)
    fit_workers('training', loader(image(), workers=0))
    with pytest.raises(FileNotFoundError, match='num_workers=4, but this machine has no shared memory'):
        fit_workers('training', loader(image()))


@pytest.mark.runs
def test_a_run_lowers_its_workers_and_comes_to_the_same(tmp_path, image_root, room, said):
    weights = []
    for number, size in enumerate((GIB, 4 * 16 * 3 * 16 * 16)):
        room(size)
        runner = train_here(make_config(tmp_path / f'run{number}', image_root, epochs=2, workers=2))
        assert runner.train_dataloader.num_workers == 2 - number
        weights.append({key: value.clone() for key, value in runner.model.state_dict().items()})
    assert len(said) == 1 and 'workers of training are lowered from 2 to 1' in said[0]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
