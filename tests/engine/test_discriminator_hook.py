"""The warning of a discriminator that teaches nothing."""

from types import SimpleNamespace

import pytest
from mmengine.logging import HistoryBuffer

from mmmim.engine.hooks import DiscriminatorHook


class Run:
    """A run that logs the accuracies it is given, at every second iteration."""

    def __init__(self, epoch=10**6, interval=2, **options):
        self.lines, self.hook = [], DiscriminatorHook(**options)
        self.scalars = {}
        logger = SimpleNamespace(warning=self.lines.append)
        self.runner = SimpleNamespace(
            message_hub=SimpleNamespace(log_scalars=self.scalars),
            logger=logger,
            hooks=[],
            train_dataloader=range(epoch),
            train_loop=SimpleNamespace(stop_training=False),
        )
        self.hook.before_train(self.runner)
        self.hook.interval, self.iter, self.epoch = interval, 0, epoch

    def log(self, original, generated, times, level=''):
        for _ in range(times):
            for name, value in (('original_accuracy', original), ('generated_accuracy', generated)):
                self.scalars.setdefault(f'train/{level}{name}', HistoryBuffer()).update(value)
            self.hook.after_train_iter(self.runner, self.iter % self.epoch)
            self.iter += 1


@pytest.mark.parametrize(
    'original, generated, word',
    [
        (1.0, 0.999, 'saturated'),
        (0.0, 1.0, 'collapsed'),
        (1.0, 0.002, 'collapsed'),
        (0.9, 1.0, None),
        (0.2, 0.99, None),
        (0.5, 0.5, 'collapsed'),
        (0.9, 0.1, 'collapsed'),
        (0.6, 0.5, None),
    ],
)
def test_warns_of_what_teaches_nothing(original, generated, word):
    run = Run(window=10)
    run.log(original, generated, 9)
    assert not run.lines  # too early to tell
    run.log(original, generated, 20)
    assert len(run.lines) == (word is not None)
    assert word is None or (word in run.lines[0] and 'patches' in run.lines[0])


def test_warns_again_when_the_state_has_changed():
    run = Run(window=4)
    run.log(1.0, 1.0, 10)
    run.log(0.8, 0.8, 10)
    run.log(0.0, 1.0, 10)
    run.log(1.0, 1.0, 10)
    assert ['saturated' in line for line in run.lines] == [True, False, True]


def test_levels_are_told_apart():
    run = Run(window=4)
    run.log(0.8, 0.8, 10)
    run.log(1.0, 1.0, 10, 'image_')
    assert len(run.lines) == 1 and 'images' in run.lines[0]


@pytest.mark.parametrize('epoch', [47, 50, 781])
def test_epochs_may_be_shorter_than_the_log_interval(epoch):
    run = Run(epoch=epoch, interval=50)
    run.log(1.0, 1.0, 2000)
    assert len(run.lines) == 1 and 'saturated' in run.lines[0]


@pytest.mark.parametrize(
    'states, stopped', [('saturated', True), (['collapsed', 'saturated'], True), ('collapsed', False)]
)
def test_training_ends_where_it_is_asked_for(states, stopped):
    run = Run(window=4, stop_when=states)
    run.log(0.8, 0.8, 10)
    assert not run.runner.train_loop.stop_training
    run.log(1.0, 1.0, 10)
    assert run.runner.train_loop.stop_training is stopped


def test_options_are_checked():
    with pytest.raises(ValueError, match="stop_when='dead'"):
        DiscriminatorHook(stop_when='dead')
    with pytest.raises(ValueError, match='window=0'):
        DiscriminatorHook(window=0)
    with pytest.raises(ValueError, match='margin=0.5'):
        DiscriminatorHook(margin=0.5)
