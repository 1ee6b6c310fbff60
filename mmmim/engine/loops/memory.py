"""A step that needs more memory than the GPU has is begun again in smaller passes."""

import copy
import gc
from typing import Any, Callable, Dict, List, Optional

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ... import randomness
from ...models.algorithms.step import wrappers_of

FIRST_STEPS = 5  # of a session, and of a method's new phase: the optimizer's state is there from the second on


def watches(model: nn.Module) -> bool:
    """Whether running out of memory is an error that can be caught: on a GPU."""
    return next(model.parameters()).is_cuda


class SmallerPasses:
    """Runs optimizer steps; after an out-of-memory error of CUDA the same step again, in at least twice as many passes
    of at most half the images, and all later ones likewise. Results are those of accumulated batches of that size.

    In the first steps of a session, and of a new :attr:`BaseAlgorithm.phase`: then the state of model, optimizers and
    torch's generators is kept on the host. In several processes the error is raised with what to set, as they cannot
    begin a step again together; and so is any other error, such as cuDNN's.

    Args:
        say: Called with a sentence for each halving.
        check: Called with the images of a pass and the passes of a step; raises ValueError where the method cannot
            train on such passes.
    """

    def __init__(self, say: Callable[[str], None], check: Callable[[int, int], None]) -> None:
        self.say, self.check = say, check
        self.parts, self.left, self.phase = 1, FIRST_STEPS, None

    def run(self, model: nn.Module, batches: List[dict], optim_wrapper: OptimWrapper) -> Dict[str, Tensor]:
        """``model.train_steps`` on the batches of a step.

        Raises:
            torch.cuda.OutOfMemoryError: Even the smallest pass needs too much, or there are several processes.
        """
        if model.phase != self.phase:
            self.phase, self.left = model.phase, FIRST_STEPS
        self.left -= 1
        if self.left < 0 or not watches(model):
            return model.train_steps(self._cut(batches), optim_wrapper=optim_wrapper)
        before = _State(model, optim_wrapper)
        while True:
            try:
                return model.train_steps(self._cut(batches), optim_wrapper=optim_wrapper)
            except torch.cuda.OutOfMemoryError:
                parts = self._more_parts(batches)
                if parts is None:
                    raise
            # outside of the except clause, which holds on to the graph of the failed step
            before.restore()
            whole = size_of(batches[0])
            self.say(
                f'CUDA ran out of memory with {whole // self.parts} images in a pass: from this step on '
                f'{whole // parts} in each of {parts * len(batches)} passes. max_batch_per_device={whole // parts} '
                'starts like this'
            )
            self.parts = parts

    def _more_parts(self, batches: List[dict]) -> Optional[int]:
        """Into how many parts a batch is cut next; None where it cannot."""
        whole = size_of(batches[0])
        parts = next((n for n in range(2 * self.parts, whole + 1) if whole % n == 0), None)
        try:
            if parts is not None:
                self.check(whole // parts, parts * len(batches))
        except ValueError:
            return None
        return parts

    def _cut(self, batches: List[dict]) -> List[dict]:
        if self.parts == 1:
            return batches
        return [part for batch in batches for part in split(batch, self.parts)]


def advise(step: Callable[[], Dict[str, Tensor]], batches: List[dict]) -> Dict[str, Tensor]:
    """A step in one of several processes: an out-of-memory error of CUDA says what to set."""
    try:
        return step()
    except torch.cuda.OutOfMemoryError as error:
        half = size_of(batches[0]) // 2
        advice = f'\nSet max_batch_per_device={half} and start again' if half else ''
        raise torch.cuda.OutOfMemoryError(f'{error}{advice}') from error


def size_of(batch: dict) -> int:
    """Images of a batch as a loader gives it."""
    inputs = batch['inputs']
    return len(inputs[0]) if _are_views(inputs) else len(inputs)


def split(batch: dict, parts: int) -> List[dict]:
    """A batch in equal parts, in order: tensors, lists of one entry an image, and lists of views."""
    size = size_of(batch) // parts

    def piece(value: Any, place: int) -> Any:
        if _are_views(value):
            return [view[place : place + size] for view in value]
        return value[place : place + size] if isinstance(value, (Tensor, list, tuple)) else value

    return [{key: piece(value, i * size) for key, value in batch.items()} for i in range(parts)]


def _are_views(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and isinstance(value[0], Tensor) and value[0].ndim == 4


class _State:
    """Model, optimizers and torch's generators before a step, on the host."""

    def __init__(self, model: nn.Module, optim_wrapper: OptimWrapper) -> None:
        self.model, self.wrappers = model, wrappers_of(optim_wrapper)
        self.values = {name: value.detach().to('cpu', copy=True) for name, value in _tensors(model).items()}
        self.optimizers = [_to_host(wrapper.state_dict()) for wrapper in self.wrappers]
        self.generators = randomness.generator_state()

    @torch.no_grad()
    def restore(self) -> None:
        for wrapper in self.wrappers:
            wrapper.zero_grad()
            wrapper.optimizer.state.clear()
            _forget_scaling(wrapper)
        gc.collect()  # first of all: there is no room for anything new
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        for wrapper, state in zip(self.wrappers, self.optimizers):
            wrapper.load_state_dict(state)
        for name, value in _tensors(self.model).items():
            if name in self.values:
                value.copy_(self.values[name])
        randomness.set_generator_state(self.generators)


def _forget_scaling(wrapper: OptimWrapper) -> None:
    """What a gradient scaler keeps of a step that did not come to its end."""
    scaler = getattr(wrapper, 'scaler', None)
    if scaler is not None:
        scaler._per_optimizer_states.clear()
    for name in ('grad_scale', 'found_inf'):  # of fused optimizers, in the middle of `scaler.step`
        if hasattr(wrapper.optimizer, name):
            delattr(wrapper.optimizer, name)


def _tensors(model: nn.Module) -> Dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _to_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to('cpu', copy=True)
    if isinstance(value, dict):
        return {key: _to_host(entry) for key, entry in value.items()}
    return [_to_host(entry) for entry in value] if isinstance(value, list) else copy.deepcopy(value)
