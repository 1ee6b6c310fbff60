"""Parts of adversarial methods: one or two encoders, the adaptive weight of Eq. 9."""

from copy import deepcopy
from typing import Any, Dict, List, Optional, Tuple

import torch
from mmengine.dist import get_world_size
from mmengine.logging import MessageHub, print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch import distributed as torch_dist

from ...checkpoint.read import StateDict
from ..backbones.base import BaseEncoder
from ..build import build_part, check_choice
from ..targets import BaseTarget
from .base import BaseAlgorithm

GENERATOR, DISCRIMINATOR = PLAYERS = ('generator', 'discriminator')


def adaptive_weight(at_layer: Tensor, delta: float = 1e-6, maximum: Optional[float] = None) -> Tensor:
    """``|grad L_recon| / (|grad L_adv| + delta)`` at one layer (GAN-MAE, Eq. 9): a scalar without gradient.

    The norm is Euclidean, as in VQGAN (Esser et al., 2021), whose weight this is; the paper prints none.

    Args:
        at_layer: ``[2, P]``, the gradients of the two losses with respect to the layer's parameters, on this rank. They
            are averaged over all ranks before the norm is taken, so that the weight is that of the whole batch.
        delta: For numerical stability.
        maximum: Upper bound; None: none.
    """
    at_layer = at_layer.detach()
    if get_world_size() > 1:
        at_layer = at_layer.clone()
        torch_dist.all_reduce(at_layer)
        at_layer = at_layer / get_world_size()
    recon, adversarial = at_layer.norm(dim=1).unbind()
    weight = recon / (adversarial + delta)
    weight = weight if maximum is None else weight.clamp(max=maximum)
    # a float16 overflow must not become a weight: the gradient scaler has to see it
    return torch.where(recon.isfinite() & adversarial.isfinite(), weight, torch.nan)


def allow_retained_graphs() -> None:
    """Let several backward passes go through compiled blocks, whose buffers torch would otherwise use again in the
    first (PyTorch 2.6, "donated buffers"). Before they are compiled, that is before the first forward pass."""
    config = getattr(torch._functorch, 'config', None)
    if hasattr(config, 'donated_buffer'):
        setattr(config, 'donated_buffer', False)


def layer_parameters(module: nn.Module, name: str) -> List[Tensor]:
    """Trained parameters of the layer ``name`` of a module, or the parameter of that name.

    Raises:
        ValueError: There is none; the message names the layers.
    """
    found: List[Tensor] = [
        p for key, p in module.named_parameters() if (key == name or key.startswith(f'{name}.')) and p.requires_grad
    ]
    if not found:
        layers = dict.fromkeys(key.rpartition('.')[0] or key for key, p in module.named_parameters() if p.requires_grad)
        raise ValueError(f"gamma_layer='{name}': the decoder has no such layer. It has {', '.join(layers)}")
    return found


def both_players(optim_wrapper: OptimWrapper) -> Tuple[OptimWrapper, OptimWrapper]:
    """The generator's and the discriminator's optimizer wrapper; the same one twice where there is one optimizer.

    Raises:
        KeyError: Several optimizers, but none for one of the players.
    """
    if not isinstance(optim_wrapper, OptimWrapperDict):
        return optim_wrapper, optim_wrapper
    missing = [player for player in PLAYERS if player not in optim_wrapper.keys()]
    if missing:
        raise KeyError(
            f'optim_wrapper has no optimizer for the {" and the ".join(missing)}, only for '
            f'{", ".join(optim_wrapper.keys())}'
        )
    return optim_wrapper[GENERATOR], optim_wrapper[DISCRIMINATOR]


def check_painter(target: BaseTarget, method: str) -> None:
    """Raises ValueError for a target whose predictions cannot be painted; logs a note when they are painted with the
    original patch's mean and variance."""
    if not target.paints_pixels:
        raise ValueError(f'{method} paints what it predicts, which {type(target).__name__} cannot: use a PixelTarget')
    if target.uses_original_statistics:
        print_log(
            f'{method}: target.norm_pix=True, so generated patches are painted with the mean and variance of the '
            'original ones, and the discriminator judges their texture alone; norm_pix=False paints raw pixels',
            'current',
        )


def current(unit: str) -> int:
    """The runner's current ``'epoch'`` or ``'iter'``, from 0; also after a resume."""
    return MessageHub.get_current_instance().get_info(unit, 0)


def ramp(length: int, start: int = 0) -> float:
    """The share, in (0, 1], of a weight that grows linearly over ``length`` iterations of the run from ``start`` on; 1
    where the length is 0. It is a function of the iteration alone, so that a resumed run goes on exactly."""
    return min(1.0, (current('iter') - start + 1) / length) if length else 1.0


def gradient_norms_of(model: Any, *players: str) -> Dict[str, List[Tensor]]:
    """``generator_grad_norm`` and ``discriminator_grad_norm``: the trained parameters of each player, for
    :func:`~mmmim.models.algorithms.step.optimizer_step`. A shared encoder counts as part of both."""
    return {
        f'{player}_grad_norm': [
            p for part in model.parts_of(player).values() for p in part.parameters() if p.requires_grad
        ]
        for player in players
    }


def check_wrapper(model: Any) -> None:
    """Raises ValueError when gradients would be synchronised for all parameters in phases that use some of them."""
    if not getattr(model, 'find_unused_parameters', True) or getattr(model, 'static_graph', False):
        raise ValueError(
            "each player leaves the other one's parameters out of its step: set "
            'model_wrapper_cfg.find_unused_parameters=True, and leave out static_graph'
        )


class TwoEncoders(BaseAlgorithm):
    """An algorithm with a generator and a discriminator of the same architecture.

    The encoder that is kept is ``backbone``; a second encoder is ``generator_backbone`` or ``discriminator_backbone``.
    """

    def share_encoder(self, backbone: Any, sharing: str, export: str) -> None:
        """Add the second encoder if they are separate.

        Args:
            backbone: What ``self.backbone`` was built from.
            sharing: ``'shared'`` or ``'separate'``.
            export: Which of two separate encoders is ``backbone``: ``'generator'`` or ``'discriminator'``.

        Raises:
            ValueError: Another value.
        """
        check_choice('sharing', sharing, ('shared', 'separate'))
        check_choice('export', export, PLAYERS)
        self.sharing, self.export = sharing, export
        if sharing == 'separate':
            other = deepcopy(backbone) if isinstance(backbone, nn.Module) else build_part(backbone, 'backbone')
            self.add_module(f'{_other(export)}_backbone', other)

    def encoder_name(self, player: str) -> str:
        """Name of a player's encoder: ``'backbone'``, or that of the second encoder."""
        name = f'{player}_backbone'
        return name if name in self._modules else 'backbone'

    def encoder_of(self, player: str) -> BaseEncoder:
        return self._modules[self.encoder_name(player)]

    def check_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Raises ValueError for a checkpoint with two encoders if this model has one, or keeps the other one."""
        parts = {name.partition('.')[0] for name in state_dict}
        for player in PLAYERS:
            if f'{player}_backbone' in parts - set(self._modules):
                raise ValueError(
                    "the checkpoint has an encoder for each player (model.sharing='separate', "
                    f"model.export='{_other(player)}'), this model has sharing='{self.sharing}', "
                    f"export='{self.export}': build it alike. To start from one of the two encoders: backbone.init_cfg="
                    f"dict(type='Pretrained', checkpoint=PATH, prefix='backbone.'), or prefix='{player}_backbone.'"
                )

    def complete_state_dict(self, state_dict: StateDict) -> None:
        """Initialise both players' encoders from a checkpoint with one encoder (MAE's, or a shared one)."""
        super().complete_state_dict(state_dict)
        for name in self.state_dict():
            part, _, rest = name.partition('.')
            if part.endswith('_backbone') and name not in state_dict and f'backbone.{rest}' in state_dict:
                state_dict[name] = state_dict[f'backbone.{rest}'].clone()

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # not a hook of `load_state_dict`: MMEngine calls this method directly
        self.check_state_dict({name[len(prefix) :]: None for name in state_dict if name.startswith(prefix)})
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _other(player: str) -> str:
    return DISCRIMINATOR if player == GENERATOR else GENERATOR
