"""Which operations take the time of a training step."""

import re
import time
from collections import Counter
from typing import Any, Callable, Dict, Iterable, Sequence, Tuple

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, schedule

from timing import synchronize

# kinds by the names of torch's operators, first match counts; times are their own, without what they call
KINDS: Sequence[Tuple[str, str]] = (
    ('optimizer', r'_fused_adam|_fused_sgd|_foreach_|^Optimizer'),
    ('attention: fused', r'scaled_dot_product|flash_attention|efficient_attention'),
    ('attention: softmax', r'softmax'),
    ('attention: batched products', r'bmm|baddbmm'),
    ('linear layers', r'::mm$|addmm|linear|matmul|gemm|cutlass|cublas|nvjet|xmma'),
    ('convolutions', r'conv'),
    ('layer and batch norms', r'layer_norm|batch_norm|group_norm'),
    ('GELU', r'gelu'),
    ('compiled kernels', r'triton|CompiledFunction|cpp_fused|graph_'),
    ('gather and scatter', r'gather|scatter|index|embedding'),
    ('copies and casts', r'copy|::_to_copy|::to$|::cat$|contiguous|clone|Memcpy|memcpy'),
    ('sums and means', r'::sum|::mean|reduce'),
    ('fills and zeros', r'fill|zero|ones|empty|Memset'),
)
ELEMENTWISE = 'other element-wise work'
OUTSIDE = 'outside of operators (Python, waiting)'
WITHOUT_OPERATOR = 'kernels without an operator'
# Steps under the profiler before each that counts. What the profiler keeps in memory lies in the way of the tensors at
# first: the page faults go to the operators with the largest ones, which were softmax's and took three times as long.
UNCOUNTED = 3


def kind_of(name: str) -> str:
    """The kind of an operator, by its name."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, name)), ELEMENTWISE)


def share_by_kind(step: Callable[[Any], Any], data: Any, device: torch.device, steps: int = 3) -> Dict[str, float]:
    """Shares of a step's time by kind of operation, largest first; together 1.

    On a GPU, of the time in which its kernels run, and what is left of the clock's time is ``OUTSIDE``; without one, of
    the time in operators of the calling thread.

    Args:
        step: Trains on a batch; it has been run before, so that nothing is compiled or allocated first.
        data: The batch.
        steps: How many are counted, each after ``UNCOUNTED`` others.
    """
    on_gpu = device.type == 'cuda'
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    plan = schedule(wait=0, warmup=UNCOUNTED, active=1)
    seconds: Counter = Counter()
    total = 0.0
    for _ in range(steps):
        with profile(activities=activities, schedule=plan, acc_events=True) as profiler:
            for _ in range(UNCOUNTED):
                step(data)
                profiler.step()
            synchronize(device)
            start = time.perf_counter()
            step(data)
            synchronize(device)
            total += time.perf_counter() - start
        seconds.update(seconds_by_kind(profiler.key_averages(), on_gpu))
    seconds[OUTSIDE] = max(0.0, total - seconds.total())
    whole = seconds.total()
    return {kind: value / whole for kind, value in seconds.most_common()}


def seconds_by_kind(events: Iterable[Any], on_gpu: bool) -> Dict[str, float]:
    """Own time of each kind of operation, from the profiler's averages.

    On a GPU the profiler lists a kernel's time twice: at the operator that launched it, whose name tells the kind, and
    at the kernel.
    """
    seconds: Counter = Counter()
    kernels = 0.0
    for event in events:
        own = (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
        if own <= 0 or event.key.startswith('ProfilerStep'):  # the profiler's own name for the whole step
            continue
        if on_gpu and event.device_type != DeviceType.CPU:
            kernels += own
        else:
            seconds[kind_of(event.key)] += own
    alone = kernels - seconds.total()
    if on_gpu and alone > 0:
        seconds[WITHOUT_OPERATOR] = alone
    return dict(seconds)
