"""Any network of timm as the backbone of a classifier."""

from typing import Any, Dict, List, Optional, Tuple

import timm
from mmengine.logging import print_log
from mmengine.model import BaseModule
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..registry import MODELS
from .networks import has_tokens, open_network


@MODELS.register_module()
class TimmNetwork(BaseModule):
    """A network of timm without its classifier: images to pooled features, ``[B, C, H, W] -> ([B, D],)``.

    The features are what timm's own classifier sees (``forward_head(..., pre_logits=True)``). The architecture is
    stated, so that nothing is fetched to build it; weights come from ``init_cfg`` or from a checkpoint of the whole
    model.

    Args:
        arch: A name of ``timm.list_models()``.
        model_args: Further arguments of ``timm.create_model``: ``dict(img_size=224)``, ``dict(drop_path_rate=0.1)``.
        trainable_blocks: Train only this number of last blocks of a ViT, or stages of another network, and what comes
            behind them; the rest gets no gradient and stays in evaluation mode, its batch norms with it. 0: nothing is
            trained. None: everything.
        norm_eval: Batch norms keep the statistics that they were trained with: small batches have poor ones, and a few
            epochs do not move the running ones, by which the network is evaluated, to those that it is trained with.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` with ``'timm:NAME'``, ``'hf-hub:NAME'``,
            ``'efficientnet-lite0'`` or a file: see :func:`mmmim.load`.

    Attributes:
        embed_dim: D.
        num_layers: Blocks or stages that ``trainable_blocks`` counts.

    Raises:
        ValueError: timm has no such model, or not so many blocks; ``init_cfg`` is of another network.
    """

    def __init__(
        self,
        arch: str,
        model_args: Optional[Dict[str, Any]] = None,
        trainable_blocks: Optional[int] = None,
        norm_eval: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not timm.is_model(arch):
            raise ValueError(f'arch={arch!r}: timm {timm.__version__} has no such model')
        self.arch = arch
        self.model: Any = timm.create_model(arch, pretrained=False, num_classes=0, **dict(model_args or {}))
        width: Any = getattr(self.model, 'head_hidden_size', None) or self.model.num_features
        self.embed_dim = int(width)
        self._layers = _layer_of_each(self.model)
        self.num_layers = max(self._layers.values())
        self.frozen: Tuple[nn.Module, ...] = ()
        if trainable_blocks is not None:
            self.frozen = tuple(self._freeze_all_but_last(trainable_blocks))
        if norm_eval:
            norms = tuple(module for module in self.model.modules() if isinstance(module, _BatchNorm))
            self.frozen = (*self.frozen, *norms)

    def forward(self, images: Tensor) -> Tuple[Tensor]:
        """``[B, C, H, W] -> ([B, D],)``; mmpretrain's heads take the last of a tuple."""
        return (self.model.forward_head(self.model.forward_features(images), pre_logits=True),)

    def train(self, mode: bool = True) -> 'TimmNetwork':
        """Training mode, except for frozen parts, which stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """``(layer, number of layers)`` of a parameter, by timm's groups, for layer-wise learning rate decay.

        Layer 0 is the stem, and the last one is what follows the network.
        """
        last = self.num_layers + 1
        name = param_name.removeprefix(prefix).removeprefix('model.')
        return (self._layers.get(name, last) if param_name.startswith(prefix) else last), last + 1

    def init_weights(self) -> None:
        """Load ``init_cfg``'s weights, once; without one, leave timm's initialisation as it is."""
        if not self.is_init and self.init_cfg:
            if self.init_cfg.get('type') != 'Pretrained':
                raise ValueError(f"TimmNetwork: init_cfg can only be of type 'Pretrained', not {dict(self.init_cfg)}")
            size = getattr(getattr(self.model, 'patch_embed', None), 'img_size', None)
            network = open_network(self.init_cfg['checkpoint'], img_size=size)
            theirs, own = network.module.state_dict(), self.model.state_dict()
            wrong = sorted(
                k for k in {*theirs, *own} if k not in own or k not in theirs or theirs[k].shape != own[k].shape
            )
            if wrong:
                raise ValueError(
                    f'init_cfg.checkpoint={network.name}: {len(wrong)} parameters are not those of arch={self.arch!r}, '
                    f'such as {", ".join(wrong[:3])}'
                )
            self.model.load_state_dict(theirs)
            print_log(f'{self.arch}: the weights of {network.name}', 'current')
        self._is_init = True

    def _freeze_all_but_last(self, count: int) -> List[nn.Module]:
        """Freeze all but the last blocks; returns the modules that stay in evaluation mode."""
        if not 0 <= count <= self.num_layers:
            raise ValueError(
                f'trainable_blocks={count} must be a whole number from 0 to {self.num_layers}, the blocks or stages of '
                f'{self.arch}'
            )
        for name, param in self.model.named_parameters():
            if self._layers[name] <= self.num_layers - count:
                param.requires_grad_(False)
        found = []
        for module in self.model.modules():
            params = list(module.parameters())
            if params and not any(param.requires_grad for param in params):
                found.append(module)
        return found


def _layer_of_each(module: Any) -> Dict[str, int]:
    """The layer of each parameter: blocks of a ViT, stages of others; from 0, the stem."""
    groups = group_parameters(module, module.group_matcher(coarse=not has_tokens(module)), reverse=True)
    return {name: int(groups[name]) for name, _ in module.named_parameters()}
