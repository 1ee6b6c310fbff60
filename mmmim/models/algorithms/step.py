"""One optimizer step on one or several batches, for all methods; gradients outside of its backward passes."""

from contextlib import nullcontext
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor
from torch.autograd.function import once_differentiable

from ... import randomness

Scale = Union[float, Tensor]
Gradients = List[Optional[Tensor]]


def optimizer_step(
    algorithm: BaseModel,
    batches: Sequence[Any],
    losses_of: Callable[[Any], Dict[str, Tensor]],
    optim_wrapper: OptimWrapper,
    model: Any,
    preprocess: Optional[Callable[..., Any]] = None,
    norms: Optional[Mapping[str, Sequence[Tensor]]] = None,
) -> Dict[str, Tensor]:
    """Minimise the mean loss of the batches, which are of one size, in one step.

    Gradients are synchronised between processes in the last backward pass alone; clipping and the gradient scaler act
    on the whole step.

    Args:
        algorithm: Whose ``parse_losses`` sums the entries with ``loss`` in their names.
        batches: All of this step.
        losses_of: The forward pass of a batch, in the precision of the wrapper.
        optim_wrapper: Of one optimizer.
        model: The wrapper that synchronises gradients, or the algorithm.
        preprocess: The data preprocessor, for batches as a loader gives them; called outside of autocast.
        norms: Parameters whose gradient norm the log has, by its name there.

    Returns:
        The mean of each value over the batches, for the log: tensors without gradient.

    Raises:
        ValueError: The wrapper accumulates by itself, or there are several.
    """
    if isinstance(optim_wrapper, OptimWrapperDict):
        raise ValueError(
            f'optim_wrapper has optimizers for {", ".join(optim_wrapper.keys())}: {type(algorithm).__name__} takes one'
        )
    check_accumulation(getattr(optim_wrapper, '_accumulative_counts', 1))
    logs = []
    for number, batch in enumerate(batches, start=1):
        is_last = number == len(batches)
        data = batch if preprocess is None else preprocess(batch, True)
        with nullcontext() if is_last or not hasattr(model, 'no_sync') else model.no_sync():
            with optim_wrapper.optim_context(model):
                losses = losses_of(data)
            del data  # the backward pass needs no images
            loss, values = algorithm.parse_losses(losses)
            optim_wrapper.backward(loss / len(batches))
        logs.append(values)
    measured = {name: gradient_norm(of, optim_wrapper) for name, of in (norms or {}).items()}
    optim_wrapper.step()
    optim_wrapper.zero_grad()
    return {**mean_log(logs), **measured}


def gradient_norm(parameters: Sequence[Tensor], optim_wrapper: OptimWrapper) -> Tensor:
    """The Euclidean norm of a step's gradients, before clipping: a scalar on the device, 0 where there are none. With a
    gradient scaler it is that of the unscaled ones, and 0 where they overflow, as the scaler skips such a step."""
    found = [p.grad for p in parameters if p.grad is not None]
    if not found:
        return torch.zeros((), device=parameters[0].device if parameters else None)
    scale = loss_scale(optim_wrapper, found[0].device)
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(found))) / scale
    return torch.where(norm.isfinite(), norm, 0) if isinstance(scale, Tensor) else norm


def wrappers_of(optim_wrapper: Any) -> List[OptimWrapper]:
    """The wrappers of a dict of them, or the one."""
    return list(optim_wrapper.values()) if isinstance(optim_wrapper, OptimWrapperDict) else [optim_wrapper]


def mean_log(logs: List[Dict[str, Tensor]]) -> Dict[str, Tensor]:
    """The mean of each value, on the device and without gradient."""
    if len(logs) == 1:
        return {name: value.detach() for name, value in logs[0].items()}
    return {name: torch.stack([log[name].detach() for log in logs]).mean() for name in logs[0]}


def check_accumulation(count: int) -> None:
    """Raises ValueError for an ``accumulative_counts`` of an optimizer wrapper."""
    if count != 1:
        raise ValueError(
            f'optim_wrapper.accumulative_counts={count}: this method gets all batches of a step at once. Leave it out; '
            'the loop accumulates where total_batch_size is more than the processes take in one pass '
            '(max_batch_per_device)'
        )


def loss_scale(optim_wrapper: OptimWrapper, device: torch.device) -> Scale:
    """The loss scale of float16 training, a scalar on the device; the number 1 without a gradient scaler.

    Gradients computed outside the backward pass need it, too.
    """
    scaler = getattr(optim_wrapper, 'scaler', None) or getattr(optim_wrapper, 'loss_scaler', None)  # ours, MMEngine's
    return 1.0 if scaler is None else scaler.scale(torch.ones((), device=device))


def replaying(preprocess: Callable[..., Any], states: Sequence[List[Tensor]]) -> Callable[..., Any]:
    """``preprocess`` for batches that were passed before: each draws again what it drew from its state on."""
    left = iter(states)

    def run(batch: Any, training: bool) -> Any:
        randomness.set_generator_state(next(left))
        return preprocess(batch, training)

    return run


def gradients(
    output: Tensor, tensors: Sequence[Tensor], scale: Scale, outer: Optional[Tensor] = None, retain: bool = False
) -> Gradients:
    """Gradients with respect to ``tensors``, outside a step's backward pass: nothing is accumulated in ``.grad``.

    Args:
        output: A scalar; or any tensor, with ``outer``.
        tensors: The gradient is None for those that ``output`` does not depend on.
        scale: The loss scale (float16), which the backward pass is multiplied by and the result is divided by.
        outer: The gradient with respect to ``output``. None: 1.
        retain: Keep the graph for another backward pass.
    """
    outer = torch.ones_like(output) if outer is None else outer
    # in the precision of the forward pass, which autocast would change here
    with torch.autocast(output.device.type, enabled=False):
        outer = (outer * scale).to(output.dtype)
        found = torch.autograd.grad(output, tensors, outer, retain_graph=retain, allow_unused=True)
    return [None if gradient is None else gradient / scale for gradient in found]


class _WithGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int, *tensors: Tensor) -> Tensor:
        ctx.count = count
        ctx.save_for_backward(*tensors[count:])
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> Tuple[Optional[Tensor], ...]:
        return (None, None, *(outer * gradient for gradient in ctx.saved_tensors), *[None] * ctx.count)


def with_gradients(value: Tensor, tensors: Sequence[Tensor], given: Sequence[Optional[Tensor]]) -> Tensor:
    """A scalar with this value and given gradients with respect to ``tensors``.

    A backward pass through it adds them to those of ``tensors``; those whose gradient is None are left out. So
    one pass through a network serves losses that weight its gradients differently, and parameter hooks
    (DistributedDataParallel's) run in the one backward pass that they expect.
    """
    known = [(tensor, gradient) for tensor, gradient in zip(tensors, given) if gradient is not None]
    return _WithGradients.apply(
        value.detach(), len(known), *(tensor for tensor, _ in known), *(gradient.detach() for _, gradient in known)
    )
