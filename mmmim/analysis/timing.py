"""Where the time of a training step goes, without waiting for the device inside it."""

import statistics
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple, Union

import torch
from mmengine.optim import OptimWrapper

from .flops import each_wrapper

# name of a phase: methods of an optimizer wrapper
_METHODS = dict(backward=('backward',), optimizer=('step', 'zero_grad'))
Mark = Union[float, 'torch.cuda.Event']


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

    def timed(self, name: str, function: Callable) -> Callable:
        """The function, timed at every call."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        return call

    def watch(self, optim_wrapper: OptimWrapper) -> None:
        """Time the backward passes and updates that a training step makes through its optimizer wrappers."""
        for wrapper in each_wrapper(optim_wrapper):
            for name, methods in _METHODS.items():
                for method in methods:
                    setattr(wrapper, method, self.timed(name, getattr(wrapper, method)))

    def collect(self) -> Dict[str, float]:
        """Seconds of each phase since the last call; waits for the device."""
        synchronize(self.device)
        seconds: Dict[str, float] = {}
        for name, start, end in self._spans:
            span = start.elapsed_time(end) / 1000 if self.device.type == 'cuda' else end - start
            seconds[name] = seconds.get(name, 0.0) + span
        self._spans.clear()
        return seconds


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
    seconds = {name: spans.get(name, 0.0) / count for name in ('train_step', *_METHODS)}
    data = max(total - seconds['train_step'], 0.0)
    forward = total - data - seconds['backward'] - seconds['optimizer']
    return dict(step=total, data=data, forward=forward, backward=seconds['backward'], optimizer=seconds['optimizer'])


def summarize(values: Sequence[float]) -> Dict[str, float]:
    """``median``, quartiles ``q1`` and ``q3``, ``min`` and ``max``."""
    q1, _, q3 = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else [values[0]] * 3
    return dict(median=statistics.median(values), q1=q1, q3=q3, min=min(values), max=max(values))


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
            best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best
