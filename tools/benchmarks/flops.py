"""Operations of a training step as it is executed: by module, forward and backward, attention products apart.

Counted are matrix products and convolutions, a multiply-add as two operations, by the formulas of torch's counter
(:mod:`torch.utils.flop_counter`). Element-wise work, norms and softmax are not.
"""

from bisect import bisect_right
from collections import Counter
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
FORWARD, BACKWARD = PHASES = ('forward', 'backward')
LINEAR, ATTENTION = KINDS = ('linear', 'attention')
OTHER = 'other'  # what no part of the algorithm owns

_BATCHED_PRODUCTS = {aten.bmm, aten.baddbmm}


def _fused_forward(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> int:
    """Queries by keys, and weights by values: ``[B, H, T, D]``, ``[B, H, S, D]``, ``[B, H, S, E]``."""
    return 2 * query.numel() * key.shape[-2] + 2 * query.shape[:-1].numel() * value.shape[-2] * value.shape[-1]


def _fused_backward(grad: Tensor, *args: Any, **kwargs: Any) -> int:
    """Two products for each of the forward pass.

    Fused kernels compute the weights a second time. That is a cost of the kernel, not of the model: left out, the
    count is the same as for plain matrix products.
    """
    return 2 * _fused_forward(*args, **kwargs)


# torch has no formulas for the fused kernels of the CPU, and counts the second computation of the others
_FUSED: Dict[Any, Callable[..., int]] = {}
for _kernel in ('flash_attention_for_cpu', 'flash_attention', 'efficient_attention', 'cudnn_attention'):
    _FUSED[getattr(aten, f'_scaled_dot_product_{_kernel}')] = _fused_forward
    _FUSED[getattr(aten, f'_scaled_dot_product_{_kernel}_backward')] = _fused_backward


class _Operations(TorchDispatchMode):
    """Reports every operation that is counted: ``report(operator, operations)``."""

    def __init__(self, report: Callable[[Any, int], None]) -> None:
        super().__init__()
        self.report, self.formulas = report, {**flop_registry, **_FUSED}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = getattr(func, '_overloadpacket', None)
        formula = self.formulas.get(packet)
        if formula is None and packet is not None and torch.is_inference_mode_enabled():
            with self:  # without autograd, composite operations (linear) arrive here undivided
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if formula is not None:
            self.report(packet, formula(*args, **kwargs, out_val=result))
        return result


class _Owner(NamedTuple):
    """The innermost module that is being run."""

    path: str
    in_attention: bool


class FlopCounter:
    """Counts within ``with FlopCounter(model) as counter: ...``.

    A backward operation belongs to the module whose forward pass made its node of the graph, which the sequence
    number of the node tells. So a module that is shared by several passes, or entered without anything that needs a
    gradient, is counted right. What a gradient checkpoint computes again counts as backward.

    Args:
        model: Its modules' names become the paths of the counts. It must not be compiled.

    Attributes:
        counts: ``{(path, phase, kind): operations}``; the path of the innermost module, ``''`` outside of all. The kind
            is attention for the two products of queries, keys and values, else linear (with convolutions).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.counts: Counter = Counter()
        self._stack = [_Owner('', False)]
        self._starts: List[int] = []  # sequence numbers from which on ...
        self._owners: List[_Owner] = []  # ... nodes belong to these
        self._handles: list = []
        self._mode = _Operations(self._count)

    def __enter__(self) -> 'FlopCounter':
        for path, module in self.model.named_modules():
            if path:
                enter, leave = self._hooks(path, module)
                # also left when something is raised inside, as a gradient checkpoint does when it has what it needs
                self._handles.append(module.register_forward_pre_hook(enter))
                self._handles.append(module.register_forward_hook(leave, always_call=True))
        self._mark()
        self._mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._mode.__exit__(*error)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hooks(self, path: str, module: nn.Module) -> Tuple[Callable, Callable]:
        name = type(module).__name__.lower()
        is_attention = 'attention' in name or 'attn' in name

        def enter(*_: Any) -> None:
            self._stack.append(_Owner(path, is_attention or self._stack[-1].in_attention))
            self._mark()

        def leave(*_: Any) -> None:
            self._stack.pop()
            self._mark()

        return enter, leave

    def _mark(self) -> None:
        self._starts.append(torch.autograd._get_sequence_nr())
        self._owners.append(self._stack[-1])

    def _count(self, packet: Any, operations: int) -> None:
        node, owner = torch._C._current_autograd_node(), self._stack[-1]
        if node is not None and len(self._stack) == 1:
            owner = self._owners[max(bisect_right(self._starts, node._sequence_nr()) - 1, 0)]
        attention = packet in _FUSED or (owner.in_attention and packet in _BATCHED_PRODUCTS)
        self.counts[owner.path, FORWARD if node is None else BACKWARD, ATTENTION if attention else LINEAR] += operations


class StepFlops:
    """What a training step costs for one image.

    Args:
        counts: As :class:`FlopCounter` has them, for a batch.
        parameters: ``{name: number of values}``.
        batch: Images in the batch.
    """

    def __init__(self, counts: Dict[Tuple[str, str, str], int], parameters: Dict[str, int], batch: int) -> None:
        self.counts, self.parameters, self.batch = dict(counts), dict(parameters), batch

    def total(self, phase: str = '', kind: str = '') -> float:
        """Operations for one image (FLOPs; multiply-adds are half of them), of one phase or kind or of all."""
        return sum(self.by_part(1, phase, kind).values())

    def by_part(self, depth: int = 1, phase: str = '', kind: str = '') -> Dict[str, float]:
        """The same by part: the first ``depth`` names of a module's path."""
        parts: Counter = Counter()
        for (path, its_phase, its_kind), operations in self.counts.items():
            if phase in ('', its_phase) and kind in ('', its_kind):
                parts[part_of(path, depth)] += operations / self.batch
        return dict(parts)

    def parameters_by_part(self, depth: int = 1) -> Dict[str, int]:
        """Number of values, also of parameters that are fixed. One that is shared counts where it comes first."""
        parts: Counter = Counter()
        for name, size in self.parameters.items():
            parts[part_of(name.rpartition('.')[0], depth)] += size
        return dict(parts)


def part_of(path: str, depth: int = 1) -> str:
    """``'backbone.blocks.0.attn'`` to ``'backbone'`` (depth 1) or ``'backbone.blocks'`` (2)."""
    return '.'.join(path.split('.')[:depth]) or OTHER


def count_step(algorithm: nn.Module, optim_wrapper: OptimWrapper, data: dict, batch: int) -> StepFlops:
    """Count one ``algorithm.train_step``, with all its phases, on a batch of that many images.

    Parameters and optimizers stay as they are, and no optimizer state is allocated: an update has no operations of the
    model.
    """
    wrappers = list(each_wrapper(optim_wrapper))
    for wrapper in wrappers:
        wrapper.step = lambda **_: None
    try:
        with FlopCounter(algorithm) as counter:
            algorithm.train_step(data, optim_wrapper)
    finally:
        for wrapper in wrappers:
            del wrapper.step
            wrapper.zero_grad()
    return StepFlops(counter.counts, {name: p.numel() for name, p in algorithm.named_parameters()}, batch)


def each_wrapper(optim_wrapper: OptimWrapper) -> Iterator[OptimWrapper]:
    """The wrapper, or those that it is a dict of."""
    yield from optim_wrapper.values() if isinstance(optim_wrapper, OptimWrapperDict) else [optim_wrapper]
