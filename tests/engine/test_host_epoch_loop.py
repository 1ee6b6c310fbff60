"""The loop for data sets of other toolboxes: a stopped run goes on with the next batch, and is validated when due."""

import json
import signal

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmmim.engine.hooks import AtomicCheckpointHook, DeferredRuntimeInfoHook, MissedValidationHook, RunRecordHook
from mmmim.engine.loops import LateBatchSampler

pytestmark = pytest.mark.runs

IMAGES, BATCH, EPOCHS = 10, 3, 3  # four batches an epoch, the last of one image


class Numbers(Dataset):
    metainfo: dict = {}

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


class Linear(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor', **_):
        x = torch.stack(list(inputs))
        return dict(loss=self.layer(x).square().mean()) if mode == 'loss' else [dict(found=1.0)] * len(x)


class Count(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [1] * len(data_samples)

    def compute_metrics(self, results):
        return dict(found=float(len(results)))


class Witness(Hook):
    """Notes what every step sees; asks for a stop before an iteration, or breaks a validation."""

    def __init__(self, stop_at=None, break_validation_at=None):
        self.stop_at, self.break_at, self.steps, self.validated = stop_at, break_validation_at, [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        images = [int(image) for image in data_batch['inputs']]
        self.steps.append((runner.epoch, batch_idx, images, round(runner.optim_wrapper.get_lr()['lr'][0], 9)))
        if runner.iter == self.stop_at:
            signal.raise_signal(signal.SIGTERM)

    def before_val_epoch(self, runner):
        if runner.iter == self.break_at:
            raise KeyboardInterrupt
        self.validated.append(runner.iter)


def run(work_dir, resume=False, iterations=False, batch_sampler=None, workers=0, persistent=False, **witness):
    """Train a linear layer; returns what was seen."""
    seen = Witness(**witness)
    loader = dict(
        dataset=Numbers(),
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=persistent,
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    if batch_sampler:
        loader['batch_sampler'] = batch_sampler
    steps = EPOCHS * 4
    train_cfg = (
        dict(type='IterBasedTrainLoop', max_iters=steps, val_interval=4)
        if iterations
        else dict(type='mmmim.HostEpochLoop', max_epochs=EPOCHS)
    )
    if iterations:
        loader['sampler'] = dict(type='InfiniteSampler', shuffle=True)
    runner = Runner(
        Linear(),
        str(work_dir),
        train_dataloader=loader,
        train_cfg=train_cfg,
        val_cfg=dict(),
        val_dataloader=dict(
            dataset=Numbers(), batch_size=BATCH, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        val_evaluator=[Count()],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=steps, by_epoch=False, begin=0, end=steps),
        default_hooks=dict(
            runtime_info=DeferredRuntimeInfoHook(),
            checkpoint=AtomicCheckpointHook(interval=1 if not iterations else 4, by_epoch=not iterations),
        ),
        custom_hooks=[seen, RunRecordHook(), MissedValidationHook(), dict(type='mmmim.RunStateHook', guard=False)],
        resume=resume,
        randomness=dict(seed=1),
        default_scope='mmmim',
        experiment_name=f'{work_dir}{resume}{witness}',
    )
    try:
        runner.train()
    except (SystemExit, KeyboardInterrupt):
        assert not json.loads((work_dir / 'run.json').read_text())['finished']
    else:
        assert json.loads((work_dir / 'run.json').read_text())['finished']
    return seen


@pytest.mark.parametrize(
    'stop_at, workers',
    [
        (0, {}),
        (5, {}),
        (6, {}),
        (7, {}),
        (11, {}),
        (5, dict(workers=1)),
        (5, dict(workers=2, persistent=True)),
    ],
    ids=[
        'first',
        'middle',
        'next-to-last-of-an-epoch',
        'last-of-an-epoch',
        'very-last',
        'worker',
        'persistent-workers',
    ],
)
def test_a_stopped_run_goes_on_with_the_next_batch(tmp_path, stop_at, workers):
    """No image twice in an epoch, no step too many, the same rates; also where the last batch of an epoch is done."""
    whole = run(tmp_path / 'whole')
    first = run(tmp_path / 'parts', stop_at=stop_at, **workers)
    second = run(tmp_path / 'parts', resume=True, **workers)
    assert len(first.steps) == stop_at + 1 and first.steps + second.steps == whole.steps
    assert first.validated + second.validated == whole.validated == [4, 8, 12]


def test_batches_are_those_of_the_config_own_sampler(tmp_path):
    own = dict(type='mmmim.LateBatchSampler', drop_last=True)  # any batch sampler: three whole batches an epoch
    seen = run(tmp_path / 'run', batch_sampler=own)
    assert len(seen.steps) == 3 * EPOCHS
    assert json.loads((tmp_path / 'run/run.json').read_text())['batch'] == BATCH


def test_batches_before_the_start_are_left_out():
    batches = LateBatchSampler(range(7), 2)
    assert list(batches) == [[0, 1], [2, 3], [4, 5], [6]]
    batches.start = 2
    assert list(batches) == list(batches) == [[4, 5], [6]] and len(batches) == 4


@pytest.mark.parametrize('iterations', [False, True], ids=['epochs', 'iterations'])
@pytest.mark.parametrize('broken', [4, 12], ids=['first', 'last'])
def test_a_validation_that_was_broken_off_is_made_up_for(tmp_path, iterations, broken):
    first = run(tmp_path / 'run', iterations=iterations, break_validation_at=broken)
    assert broken not in first.validated
    second = run(tmp_path / 'run', resume=True, iterations=iterations)
    assert first.validated + second.validated == [4, 8, 12]
    curve = [json.loads(line) for line in (tmp_path / 'run/curve.jsonl').read_text().splitlines()]
    assert [line['iter'] for line in curve if 'found' in line] == [4, 8, 12]


def test_what_was_validated_counts_once(tmp_path):
    run(tmp_path / 'run')
    again = run(tmp_path / 'run', resume=True)
    assert again.validated == [12] and not again.steps
    curve = [json.loads(line) for line in (tmp_path / 'run/curve.jsonl').read_text().splitlines()]
    assert [line['iter'] for line in curve if 'found' in line] == [4, 8, 12]
