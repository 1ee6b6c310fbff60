"""How many processes a machine takes, and what a run says of it at its start."""

import os
import subprocess
import sys
import time

import pytest
import torch
from harness import ROOT, make_config, train_here
from mmengine.config import Config
from torch import nn

from mmmim.engine import devices, processes
from mmmim.engine.devices import DeviceError, check_processes, cores_here, processes_here, threads_for, why_no_gpu
from mmmim.engine.hooks import run_start
from mmmim.engine.hooks.run_record import read_record
from mmmim.models.layers.norm import CrossRankBatchNorm1d

VARIABLES = ('LOCAL_WORLD_SIZE', 'LOCAL_RANK', 'CUDA_VISIBLE_DEVICES', 'MMMIM_CPU', 'OMPI_COMM_WORLD_LOCAL_SIZE')


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Sets cores, GPUs and variables."""
    for name in (*VARIABLES, *(name for name in os.environ if name.startswith('SLURM_'))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, 'GROUP', tmp_path)

    def set_up(cores=4, gpus=0, driver=False, **variables):
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(cores)))
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
        monkeypatch.setattr(devices, 'has_nvidia_driver', lambda: driver or gpus > 0)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return set_up


def test_without_a_gpu_at_most_a_process_a_core(machine):
    machine(cores=4)
    check_processes('pytorch', 4)
    with pytest.raises(
        DeviceError, match='no GPU is used .*5 processes are too many for the 4 CPU cores here: start at'
    ):
        check_processes('pytorch', 5)
    machine(cores=1)
    with pytest.raises(DeviceError, match='the 1 CPU core here: start at most 1, or give --cpu'):
        check_processes('mpi', 2)
    machine(cores=4, MMMIM_CPU='1')
    check_processes('pytorch', 8)


def test_a_gpu_for_each_process(machine):
    machine(cores=1, gpus=2)
    check_processes('pytorch', 2)
    with pytest.raises(DeviceError, match='8 processes were started on this machine, which has 2 GPUs .*: start 2;'):
        check_processes('pytorch', 8)
    machine(gpus=1, CUDA_VISIBLE_DEVICES='3')
    with pytest.raises(DeviceError, match=r'1 GPU for them \(CUDA_VISIBLE_DEVICES=3\): start 1'):
        check_processes('pytorch', 2)


def test_a_share_of_a_container_counts(machine, tmp_path):
    machine(cores=64)
    (tmp_path / 'cpu.max').write_text('250000 100000\n')
    assert devices.usable_cores() == 2 and threads_for('pytorch', 1) == 2
    with pytest.raises(DeviceError, match='3 processes are too many for the 2 CPU cores'):
        check_processes('pytorch', 3)
    (tmp_path / 'cpu.max').write_text('max 100000\n')
    assert devices.usable_cores() == 64
    (tmp_path / 'cpu.max').write_text('50000 100000\n')
    assert devices.usable_cores() == 1


def test_processes_of_this_machine_are_counted_not_those_of_the_run(machine):
    machine(WORLD_SIZE=16, LOCAL_WORLD_SIZE=2)
    assert processes_here('pytorch') == 2
    machine(OMPI_COMM_WORLD_LOCAL_SIZE=3)
    assert processes_here('mpi') == 3
    machine(SLURM_NTASKS=7, SLURM_NTASKS_PER_NODE=4)
    assert processes_here('slurm') == 4
    for node, count in enumerate((2, 2, 3)):  # machines with different numbers
        machine(SLURM_STEP_TASKS_PER_NODE='2(x2),3', SLURM_NODEID=node)
        assert processes_here('slurm') == count


def test_slurm_may_give_a_process_its_own_cores_and_its_own_gpu(machine):
    machine(cores=4, SLURM_CPUS_ON_NODE=32)
    assert cores_here('slurm') == 32 and threads_for('slurm', 8) == 4
    check_processes('slurm', 8)
    with pytest.raises(DeviceError, match='33 processes are too many for the 32 CPU cores'):
        check_processes('slurm', 33)
    machine(gpus=1)
    check_processes('slurm', 8)  # nothing says how many the machine has
    machine(gpus=1, SLURM_GPUS_ON_NODE=8)
    check_processes('slurm', 8)
    with pytest.raises(DeviceError, match='9 processes .* has 8 GPUs'):
        check_processes('slurm', 9)


def test_it_is_said_why_no_gpu_is_used(machine, monkeypatch):
    machine()
    assert why_no_gpu() == 'this machine has no NVIDIA driver'
    monkeypatch.setattr(torch.version, 'cuda', None)
    machine(driver=True)
    assert 'is built for the CPU; for the NVIDIA driver here see `mmmim doctor`' in why_no_gpu()
    monkeypatch.setattr(torch.version, 'cuda', '12.6')
    assert 'finds none beside an NVIDIA driver' in why_no_gpu()
    machine(driver=True, CUDA_VISIBLE_DEVICES='-1')
    assert why_no_gpu() == "CUDA_VISIBLE_DEVICES='-1' hides them"
    machine(driver=True, CUDA_VISIBLE_DEVICES='0')
    assert 'finds none beside an NVIDIA driver' in why_no_gpu()
    for visible in ('0', ''):
        machine(CUDA_VISIBLE_DEVICES=visible)
        assert why_no_gpu() == 'this machine has no NVIDIA driver'
    machine(CUDA_VISIBLE_DEVICES='', MMMIM_CPU='1')
    assert why_no_gpu() == 'the CPU was asked for, by --cpu or --device cpu'


@pytest.mark.parametrize('launcher, own', [('pytorch', 'LOCAL_RANK'), ('slurm', 'SLURM_LOCALID')])
def test_every_launcher_is_refused_before_processes_wait_for_each_other(machine, monkeypatch, launcher, own):
    waited = []
    monkeypatch.setattr(time, 'sleep', waited.append)
    machine(cores=2, LOCAL_WORLD_SIZE=3, SLURM_NTASKS_PER_NODE=3, **{own: 0})
    with pytest.raises(DeviceError, match='3 processes are too many'):
        processes.set_up_processes(launcher, Config())
    assert not waited
    machine(cores=2, **{own: 2})  # the first says it
    with pytest.raises(DeviceError):
        processes.set_up_processes(launcher, Config())
    assert waited


def test_dist_train_refuses_before_it_starts_anything(monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.delenv('MMMIM_CPU', raising=False)
    many = len(os.sched_getaffinity(0)) + 1
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment.update(PYTHON=sys.executable, CUDA_VISIBLE_DEVICES='')
    command = ['bash', str(ROOT / 'tools/dist_train.sh'), 'configs/quickstart/mae.py', str(many)]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=120)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f'({why_no_gpu()}), and {many} processes are too many' in done.stderr


# --------------------------------------------------------------------------------------------------- the start of a run


def facts(batch=8, passes=1, processes=1):
    return dict(batch=batch, passes=passes, processes=processes)


def test_the_effective_batch_size_and_what_changes_it():
    (line,) = run_start.batch_lines(Config(dict(total_batch_size=64)), facts(8, 2, 4))
    assert line == 'Effective batch size 64 = 4 processes x 8 x 2 passes'
    first, second = run_start.batch_lines(Config(), facts(8, 1, 2))
    assert first == 'Effective batch size 16 = 2 processes x 8 x 1 pass' and 'learning rate does not follow' in second
    assert len(run_start.batch_lines(Config(), facts())) == 1


def test_batch_statistics_of_fewer_samples_than_the_batch_are_named():
    model = nn.ModuleDict(dict(neck=nn.BatchNorm1d(2), head=nn.Sequential(CrossRankBatchNorm1d(2), nn.BatchNorm2d(2))))
    assert run_start.statistics_lines(model, facts()) == []
    (line,) = run_start.statistics_lines(model, facts(8, 1, 2))
    assert (
        line.startswith('Batch statistics of neck (1 layer), head (1 layer) are of 8 samples') and 'processes' in line
    )
    alone, across = run_start.statistics_lines(model, facts(8, 2, 2))
    assert 'of head (1 layer) are of 16 samples' in across and 'number of processes' not in across
    assert run_start.statistics_lines(model.eval(), facts(8, 2, 2)) == []  # frozen ones compute none
    assert run_start.statistics_lines(nn.LayerNorm(2), facts(8, 2, 2)) == []


def test_the_precision_that_the_hardware_decided(machine, monkeypatch):
    machine()
    monkeypatch.setattr(run_start, 'has_fast_bf16', lambda device: False)
    auto = dict(type='mmmim.AutocastOptimWrapper', optimizer=dict(type='AdamW'))
    (line,) = run_start.precision_lines(Config(dict(optim_wrapper=auto)), 'float32')
    assert line.startswith('Precision float32: ') and 'no fast bf16' in line
    players = dict(generator=auto, judge=auto)
    assert run_start.precision_lines(Config(dict(optim_wrapper=players)), 'float32') == [line]
    (line,) = run_start.precision_lines(Config(dict(optim_wrapper=dict(auto, dtype='bfloat16'))), 'bfloat16')
    assert 'only imitates' in line
    for asked in ('float32', 'float16'):
        assert run_start.precision_lines(Config(dict(optim_wrapper=dict(auto, dtype=asked))), asked) == []
    assert run_start.precision_lines(Config(dict(optim_wrapper=auto)), 'bfloat16') == []


@pytest.mark.runs
def test_the_log_and_run_json_say_it(tmp_path, image_root):
    cfg = make_config(tmp_path / 'run', image_root, epochs=2, max_batch_per_device=8)
    train_here(cfg)
    said = read_record(str(tmp_path / 'run'))
    assert said['effective_batch'] == 16
    assert 'Effective batch size 16 = 1 process x 8 x 2 passes' in said['at_start']
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert all(line in log.read_text() for line in said['at_start'])
    assert torch.cuda.is_available() or said['at_start'][0].startswith('No GPU is used: ')


@pytest.mark.parametrize('words', ['--cpu', '--device=cpu', '--device cpu', '--seed 1 --device cpu'])
def test_the_launcher_knows_each_way_to_ask_for_the_cpu(monkeypatch, capsys, words):
    monkeypatch.setattr(devices, 'usable_cores', lambda: 2)
    monkeypatch.setattr(devices, 'usable_gpus', lambda: 0)
    monkeypatch.delenv(devices.CPU_ASKED, raising=False)
    assert devices.main(['3', *words.split()]) == 0
    assert devices.main(['3', '--device', 'cuda']) == 2
    assert 'dist_launch: no GPU is used' in capsys.readouterr().err
