"""Training steps, and where their time goes: measured without waiting for the device inside a step."""

import itertools
import statistics
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple, TypeVar, Union

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from flops import each_wrapper
from mmmim.progress import track

# name of a phase: methods of an optimizer wrapper
_METHODS = dict(backward=('backward',), optimizer=('step', 'zero_grad'))
PHASES = ('data', 'forward', *_METHODS)  # of a step, in order
Mark = Union[float, 'torch.cuda.Event']
Spent = TypeVar('Spent')


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


class PhaseTimer:
    """Sums the time of named phases; on a GPU by events on its stream, which the host does not wait for.

    Phases may follow each other and repeat, but not nest under one name.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._spans: List[Tuple[str, Mark, Mark]] = []

    def _now(self) -> Mark:
        if self.device.type != 'cuda':
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What runs inside belongs to this phase."""
        start = self._now()
        yield
        self._spans.append((name, start, self._now()))

    def watch(self, optim_wrapper: OptimWrapper) -> None:
        """Time the backward passes and updates that a training step makes through its optimizer wrappers."""
        for wrapper in each_wrapper(optim_wrapper):
            for phase, methods in _METHODS.items():
                for method in methods:
                    # what @contextmanager returns is a decorator, too
                    setattr(wrapper, method, self.phase(phase)(getattr(wrapper, method)))

    def collect(self) -> Dict[str, float]:
        """Seconds of each phase since the last call; waits for the device."""
        synchronize(self.device)
        seconds: Dict[str, float] = {}
        for name, start, end in self._spans:
            span = start.elapsed_time(end) / 1000 if self.device.type == 'cuda' else end - start
            seconds[name] = seconds.get(name, 0.0) + span
        self._spans.clear()
        return seconds


class TrainingStep(NamedTuple):
    """A step of a plain model with a plain optimizer, its backward pass and update watched by a timer.

    Attributes:
        model, optimizer: On the timer's device.
        loss: The loss of what ``prepare`` has made, computed under autocast.
        timer: Where and by what the time is taken.
        dtype: Of autocast; there is none for float32.
        prepare: What happens to a batch before; by default nothing.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[Any], Tensor]
    timer: PhaseTimer
    dtype: torch.dtype
    prepare: Callable[[Any], Any] = lambda batch: batch

    def __call__(self, batch: Any) -> None:
        data = self.prepare(batch)
        with torch.autocast(self.timer.device.type, self.dtype, enabled=self.dtype != torch.float32):
            loss = self.loss(data)
        with self.timer.phase('backward'):
            loss.backward()
        with self.timer.phase('optimizer'):
            self.optimizer.step()
            self.optimizer.zero_grad()


class TimedSteps(NamedTuple):
    """So many steps in a row on one batch; called, it says how long one took, by phase but ``data``.

    See :func:`run_steps`.
    """

    step: Callable[[Any], Any]
    batch: Any
    timer: PhaseTimer
    count: int = 1

    def __call__(self) -> Dict[str, float]:
        spent = run_steps(self.step, itertools.repeat(self.batch), self.count, self.timer)
        spent['forward'] += spent.pop('data')  # nothing is loaded: that is the cost of the loop
        return spent


def run_steps(step: Callable[[Any], Any], batches: Iterator[Any], count: int, timer: PhaseTimer) -> Dict[str, float]:
    """Run steps in a row and say where the time of one went, on average.

    Args:
        step: Trains on a batch; its backward and optimizer phases are watched by ``timer``.
        batches: Where the batches come from.
        count: How many steps.

    Returns:
        Seconds: ``step``, by the clock on the wall from the first batch asked for to the last update done, and its
        parts ``data`` (in which the device waits for a batch), ``backward``, ``optimizer`` (updates and zeroed
        gradients) and ``forward``, which is all the rest: normalisation, mask, losses, momentum updates too.
    """
    timer.collect()
    start = time.perf_counter()
    for _ in range(count):
        batch = next(batches)
        with timer.phase('train_step'):
            step(batch)
    spans = timer.collect()
    total = (time.perf_counter() - start) / count
    data = max(total - spans['train_step'] / count, 0.0)
    watched = {phase: spans.get(phase, 0.0) / count for phase in _METHODS}
    return dict(step=total, data=data, forward=total - data - sum(watched.values()), **watched)


def interleave(
    measured: Dict[str, Callable[[], Spent]], rounds: int, warmup: int = 1, title: str = 'Measuring'
) -> Dict[str, List[Spent]]:
    """Call each once a round, so that a noisy machine hits all of them; every other round in reverse order.

    Returns:
        What they returned in each round, without the first ``warmup``.
    """
    results: Dict[str, List[Spent]] = {name: [] for name in measured}
    for number in track(range(warmup + rounds), title, unit='round'):
        for name in list(measured)[:: -1 if number % 2 else 1]:
            spent = measured[name]()
            if number >= warmup:
                results[name].append(spent)
    return results


def by_phase(rounds: Sequence[Dict[str, float]]) -> Dict[str, List[float]]:
    """From the phases of each round to the rounds of each phase."""
    return {phase: [spent[phase] for spent in rounds] for phase in rounds[0]}


def summarize(values: Sequence[float]) -> Dict[str, float]:
    """``median``, quartiles ``q1`` and ``q3``, ``min`` and ``max``."""
    q1, _, q3 = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else [values[0]] * 3
    return dict(median=statistics.median(values), q1=q1, q3=q3, min=min(values), max=max(values))


def milliseconds(summary: Dict[str, float], digits: int = 0) -> Dict[str, str]:
    """Seconds as text in milliseconds."""
    return {key: f'{1000 * value:.{digits}f}' for key, value in summary.items()}


def matmul_peak(device: torch.device, dtype: torch.dtype, repeats: int = 6) -> float:
    """FLOP/s of the best of some square matrix products, which is what this machine gives at this moment."""
    best = 0.0
    for n in (4096, 8192) if device.type == 'cuda' else (1024, 2048):
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        for _ in range(repeats):
            synchronize(device)
            start = time.perf_counter()
            a @ b
            synchronize(device)
            seconds = time.perf_counter() - start
            best = max(best, 2 * n**3 / seconds)
            if seconds > 1:  # a processor without this arithmetic, where a larger product takes minutes
                return best
    return best
