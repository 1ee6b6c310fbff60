"""Muon for the matrices of transformer blocks, AdamW for everything else."""

import re
from collections import defaultdict
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from ...models.build import check_choice
from ...registry import OPTIMIZERS
from .autocast import has_fast_bf16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration (Jordan et al., 2024), torch's default
EPS = 1e-7
MOST_VALUES = 2**26  # of the matrices that are iterated at once: bounds the memory beside the parameters
_BLOCKS = re.compile(r'(.*_)?(blocks|layers)')  # names of lists of blocks: `blocks`, `decoder_blocks`, Swin's `layers`
_DTYPES = dict(float32=torch.float32, bfloat16=torch.bfloat16)


class _Matrix(NamedTuple):
    """One matrix of a step: a parameter, or a row block of one; views, so that writing changes the parameter."""

    weight: Tensor
    grad: Tensor
    momentum_buffer: Tensor
    group: Dict[str, Any]


@OPTIMIZERS.register_module()
class MuonAdamW(torch.optim.AdamW):
    """Muon (Jordan et al., 2024) for the weights of linear layers inside blocks, AdamW for the rest.

    A step of Muon is the momentum of the gradient, orthogonalised by a Newton-Schulz iteration: all its singular values
    become about 1. It is multiplied by ``0.2 * sqrt(max(rows, columns))``, so that its size is AdamW's and one learning
    rate and weight decay serve both (Liu et al., 2025, "Muon is Scalable for LLM Training", Sec. 2.2).

    Which parameters take it is a key of their group, ``matrices``: how many matrices a parameter holds, one below the
    other; 0: AdamW. Our constructors of optimizer wrappers set it (:func:`mark_matrices`).

    All matrices of a shape are iterated at once; ``batched=False`` is torch's own ``Muon``, one by one and always in
    bfloat16, which takes seconds a step on a processor without it. In float32 two runs whose gradients differ by
    rounding differ more than with AdamW: the iteration multiplies small singular values by up to 3.4445 ** 5 = 485.

    Args:
        params: Parameters or groups.
        lr: Learning rate of both.
        momentum: Of Muon, Nesterov's.
        ns_steps: Iterations.
        split_qkv: Queries, keys and values are a matrix each; False: the fused weight is one.
        batched: See above.
        dtype: Of the iteration: ``'bfloat16'``, ``'float32'``, or ``'auto'``: bfloat16 where the device has it.
            Parameters in float64 are always iterated in float64.
        **adamw: AdamW's arguments. ``weight_decay`` is of both.

    Raises:
        ValueError: No parameter is marked, a marked one is no matrix, or a value is out of range.
        ImportError: ``batched=False`` with a torch that has no Muon (2.9 is the first with it).
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        momentum: float = 0.95,
        ns_steps: int = 5,
        split_qkv: bool = True,
        batched: bool = True,
        dtype: str = 'auto',
        **adamw: Any,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f'momentum={momentum}: it takes 0 or more, below 1')
        if not 1 <= ns_steps < 100:
            raise ValueError(f'ns_steps={ns_steps}: it takes 1 to 99')
        check_choice('dtype', dtype, ('auto', *_DTYPES))
        if not batched and not hasattr(torch.optim, 'Muon'):
            raise ImportError(
                f'batched=False needs torch.optim.Muon, which torch {torch.__version__} lacks: 2.9 has it'
            )
        self.ns_steps, self.batched, self.dtype = ns_steps, batched, dtype
        super().__init__(params, lr=lr, **adamw)
        for group in self.param_groups:
            group.setdefault('matrices', 0)
            group['momentum'] = momentum
        self._check_marks()
        # float16's scaler divides the gradients itself, and skips a step that overflows, for both optimizers
        self._step_supports_amp_scaling = False

    def _check_marks(self) -> None:
        marked = [(param, group['matrices']) for group in self.param_groups for param in group['params']]
        if not any(count for _, count in marked):
            raise ValueError(
                'MuonAdamW: no parameter is marked as a matrix. As optim_wrapper.constructor use '
                'GroupedOptimWrapperConstructor, PlayersOptimWrapperConstructor or LayerDecayOptimWrapperConstructor, '
                'with a model whose blocks are trained'
            )
        for param, count in marked:
            if count and (param.ndim != 2 or len(param) % count):
                raise ValueError(f'MuonAdamW: a parameter of shape {list(param.shape)} holds no {count} matrices')

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        """One step of both; nothing is read from the device."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group['matrices']]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        matrices = self._matrices()
        if self.batched:
            self._step_batched(matrices)
        else:
            self._step_by_torch(matrices)
        return loss

    def _matrices(self) -> List[_Matrix]:
        found = []
        for group in self.param_groups:
            for param in group['params'] if group['matrices'] else ():
                if param.grad is None:
                    continue
                state = self.state[param]
                if not state:
                    # AdamW wants a step of every state that it loads
                    state.update(step=torch.zeros(()), momentum_buffer=torch.zeros_like(param))
                state['step'] += 1
                parts = (param.detach(), param.grad, state['momentum_buffer'])
                rows = [part.chunk(group['matrices']) for part in parts]
                found += [_Matrix(*views, group) for views in zip(*rows)]
        return found

    def _step_batched(self, matrices: List[_Matrix]) -> None:
        by_shape: Dict[Tuple, List[_Matrix]] = defaultdict(list)
        for matrix in matrices:
            rows, columns = matrix.weight.shape
            key = (min(rows, columns), max(rows, columns), matrix.weight.dtype, matrix.weight.device)
            by_shape[key].append(matrix)
        for (rows, columns, *_), alike in by_shape.items():
            most = max(1, MOST_VALUES // (rows * columns))
            for start in range(0, len(alike), most):
                self._update(alike[start : start + most])

    def _update(self, alike: List[_Matrix]) -> None:
        """Matrices of one shape, or its transpose."""
        directions = []
        for matrix in alike:
            momentum = matrix.group['momentum']
            matrix.momentum_buffer.lerp_(matrix.grad, 1 - momentum)
            direction = matrix.grad.lerp(matrix.momentum_buffer, momentum)  # Nesterov
            directions.append(direction.T if len(direction) > direction.shape[1] else direction)
        dtype = self._dtype(alike[0].weight)
        for matrix, update in zip(alike, orthogonalize(torch.stack(directions).to(dtype), self.ns_steps)):
            rate, shape = matrix.group['lr'], matrix.weight.shape
            update = update.T if shape[0] > shape[1] else update
            matrix.weight.mul_(1 - rate * matrix.group['weight_decay'])
            matrix.weight.add_(update.to(matrix.weight.dtype), alpha=-rate * adjustment(*shape))

    def _dtype(self, weight: Tensor) -> torch.dtype:
        if weight.dtype == torch.float64:
            return torch.float64
        auto = 'bfloat16' if has_fast_bf16(weight.device.type) else 'float32'
        return _DTYPES[auto if self.dtype == 'auto' else self.dtype]

    def _step_by_torch(self, matrices: List[_Matrix]) -> None:
        """Each matrix by torch's Muon, which finds its momentum here and keeps nothing."""
        for weight, grad, momentum_buffer, group in matrices:
            weight.grad = grad
            settings = {key: group[key] for key in ('lr', 'weight_decay', 'momentum')}
            muon = torch.optim.Muon([weight], ns_steps=self.ns_steps, adjust_lr_fn='match_rms_adamw', **settings)
            muon.state[weight]['momentum_buffer'] = momentum_buffer
            muon.step()


def adjustment(rows: int, columns: int) -> float:
    """What an orthogonal update is multiplied by to have the root mean square of AdamW's, about 0.2."""
    return 0.2 * max(rows, columns) ** 0.5


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: singular values between about 0.7 and 1.2 (Newton-Schulz).

    Args:
        matrices: ``[N, rows, columns]``, rows <= columns.
        steps: Iterations of ``X <- a X + (b X X^T + c (X X^T)^2) X``.
    """
    a, b, c = COEFFICIENTS
    # norms of one matrix each: a sum over all in bfloat16 would depend on how many there are
    x = matrices / matrices.flatten(1).norm(dim=1).clamp(min=EPS).view(-1, 1, 1)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def mark_matrices(groups: List[dict], model: nn.Module, optimizer: Dict[str, Any]) -> None:
    """Set ``matrices`` in groups of one parameter each, if the optimizer is :class:`MuonAdamW`.

    Matrices are the weights of linear layers inside lists of blocks. Embeddings, heads, predictions, and what projects
    between encoder and decoder stay AdamW's, as first and last layers do in Muon's source.

    Args:
        groups: With a single parameter each, as MMEngine's constructor makes them.
        model: Whose names tell the blocks.
        optimizer: Its config: ``type``, ``split_qkv``.
    """
    if not takes_matrices(optimizer):
        return
    counts = {}
    for name, module in model.named_modules():
        *path, last = name.split('.')
        if isinstance(module, nn.Linear) and any(_BLOCKS.fullmatch(part) for part in path):
            counts[id(module.weight)] = 3 if last == 'qkv' and optimizer.get('split_qkv', True) else 1
    for group in groups:
        group['matrices'] = counts.get(id(group['params'][0]), 0)


def takes_matrices(optimizer: Dict[str, Any]) -> bool:
    """Whether an optimizer's config is of :class:`MuonAdamW`."""
    return str(optimizer.get('type')).rpartition('.')[2] == 'MuonAdamW'
