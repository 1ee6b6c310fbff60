"""Loading workers while the run is asked to stop."""

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.dataset import worker_init_fn
from torch.utils.data import DataLoader, Dataset

from mmmim.datasets.loading import start_worker

pytestmark = pytest.mark.runs

linux = pytest.mark.skipif(not hasattr(signal, 'sigwaitinfo'), reason='the system does not tell who sent a signal')


class Draws(Dataset):
    """What Python's, NumPy's and torch's generators give in a worker."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return random.random(), np.random.rand(), torch.rand(1).item()


def first_of_two_workers(seed):
    loader = DataLoader(Draws(), batch_size=None, num_workers=2, worker_init_fn=partial(start_worker, seed=seed))
    return list(loader)[:2]


@pytest.fixture
def loader():
    loader = DataLoader(Draws(), batch_size=1, num_workers=1, persistent_workers=True, worker_init_fn=start_worker)
    next(iter(loader))
    yield loader
    loader._iterator = None


@linux
@pytest.mark.parametrize('sign', ['TERM', 'INT'])
def test_a_worker_outlives_a_signal_that_is_not_its_parents(loader, sign):
    (worker,) = loader._iterator._workers
    subprocess.run(['kill', f'-{sign}', str(worker.pid)], check=True)  # as a launcher signals the whole group
    time.sleep(0.5)
    assert worker.is_alive() and len(list(loader)) == 4


@linux
def test_a_worker_ends_when_its_parent_says_so(loader):
    (worker,) = loader._iterator._workers
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's would raise here
    try:
        os.kill(worker.pid, signal.SIGTERM)
        worker.join(timeout=10)
        assert worker.exitcode == 0
    finally:
        signal.signal(signal.SIGCHLD, handler)


@linux
def test_a_worker_that_does_not_start_by_fork_has_time_to_go_on():
    """Libraries that it imports start threads, to which the system may give the signal."""
    loader = DataLoader(
        Draws(),
        batch_size=1,
        num_workers=1,
        persistent_workers=True,
        worker_init_fn=start_worker,
        multiprocessing_context='spawn',
    )
    next(iter(loader))
    (worker,) = loader._iterator._workers
    subprocess.run(['kill', '-TERM', str(worker.pid)], check=True)
    time.sleep(0.5)
    assert worker.is_alive() and len(list(loader)) == 4
    loader._iterator = None


@pytest.mark.parametrize('how', ['fork', 'forkserver', 'spawn'])
def test_a_process_ends_though_its_workers_wait_for_more(tmp_path, how):
    script = tmp_path / 'load.py'
    script.write_text(f"""
from torch.utils.data import DataLoader
from mmmim.datasets.loading import start_worker

if __name__ == '__main__':
    loader = DataLoader(range(4), num_workers=1, persistent_workers=True, worker_init_fn=start_worker,
                        multiprocessing_context={how!r})
    next(iter(loader))
""")
    done = subprocess.run([sys.executable, str(script)], timeout=200, env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert done.returncode == 0


def test_generators_start_as_mmengines_do(monkeypatch):
    """Data sets of other toolboxes draw from them: different numbers in each worker and process."""
    monkeypatch.setenv('RANK', '1')
    drawn = first_of_two_workers(seed=7)
    for worker in (0, 1):
        worker_init_fn(worker, num_workers=2, rank=1, seed=7)
        assert tuple(drawn[worker]) == Draws()[0]
    monkeypatch.setenv('RANK', '0')
    other = first_of_two_workers(seed=7)
    assert len({*drawn[0], *drawn[1], *other[0], *other[1]}) == 12
