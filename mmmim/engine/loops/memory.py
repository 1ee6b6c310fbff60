"""A step that needs more memory than the GPU has is begun again in smaller passes."""

import copy
import gc
from typing import Any, Callable, Dict, List

import torch
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ...models.algorithms.step import wrappers_of

FIRST_STEPS = 5  # of a session: the optimizer's state is there from the second on, and no step needs more later


def watches(model: nn.Module) -> bool:
    """Whether running out of memory is an error that can be caught: on a GPU."""
    return next(model.parameters()).is_cuda


class SmallerPasses:
    """Runs optimizer steps; after an out-of-memory error of CUDA the same step again, in twice as many passes of half
    the images, and all later ones likewise. Results are those of accumulated batches of that size.

    In the first steps of a session only: until then the state of model and optimizers is kept on the host. In several
    processes the error is raised with what to set: they cannot begin a step again together.

    Args:
        say: Called with a sentence for each halving.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.parts, self.left = say, 1, FIRST_STEPS

    def run(self, model: nn.Module, batches: List[dict], optim_wrapper: OptimWrapper) -> Dict[str, Tensor]:
        """``model.train_steps`` on the batches of a step.

        Raises:
            torch.cuda.OutOfMemoryError: Even a pass of one image needs too much, or there are several processes.
        """
        self.left -= 1
        if self.left < 0 or not watches(model):
            return model.train_steps(self._cut(batches), optim_wrapper=optim_wrapper)
        if get_world_size() > 1:
            return self._in_several_processes(model, batches, optim_wrapper)
        before = _State(model, optim_wrapper)
        while True:
            try:
                return model.train_steps(self._cut(batches), optim_wrapper=optim_wrapper)
            except torch.cuda.OutOfMemoryError:
                images = size_of(batches[0]) // self.parts
                if images < 2:
                    raise
            # outside of the except clause, which holds on to the graph of the failed step
            before.restore()
            whole = size_of(batches[0])
            self.parts = next(parts for parts in range(2 * self.parts, whole + 1) if whole % parts == 0)
            fitting = whole // self.parts
            self.say(
                f'CUDA ran out of memory with {images} images in a pass: from this step on {fitting} in each of '
                f'{self.parts * len(batches)} passes. max_batch_per_device={fitting} starts like this'
            )

    def _in_several_processes(self, model: nn.Module, batches: List[dict], optim_wrapper: OptimWrapper) -> Any:
        try:
            return model.train_steps(batches, optim_wrapper=optim_wrapper)
        except torch.cuda.OutOfMemoryError as error:
            half = max(1, size_of(batches[0]) // 2)
            raise torch.cuda.OutOfMemoryError(f'{error}\nSet max_batch_per_device={half} and start again') from error

    def _cut(self, batches: List[dict]) -> List[dict]:
        if self.parts == 1:
            return batches
        return [part for batch in batches for part in split(batch, self.parts)]


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
    """Model, optimizers and generators before a step, on the host."""

    def __init__(self, model: nn.Module, optim_wrapper: OptimWrapper) -> None:
        self.model, self.wrappers = model, wrappers_of(optim_wrapper)
        self.values = {name: value.detach().cpu().clone() for name, value in _tensors(model).items()}
        self.optimizers = [_to_host(wrapper.state_dict()) for wrapper in self.wrappers]
        self.host, self.device = torch.get_rng_state(), _device_generator()

    @torch.no_grad()
    def restore(self) -> None:
        for wrapper, state in zip(self.wrappers, self.optimizers):
            wrapper.zero_grad()
            wrapper.load_state_dict(copy.deepcopy(state))
        for name, value in _tensors(self.model).items():
            value.copy_(self.values[name])
        torch.set_rng_state(self.host)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _tensors(model: nn.Module) -> Dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _to_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _to_host(entry) for key, entry in value.items()}
    return [_to_host(entry) for entry in value] if isinstance(value, list) else copy.deepcopy(value)


def _device_generator() -> Any:
    return torch.cuda.get_rng_state() if torch.cuda.is_available() else None
