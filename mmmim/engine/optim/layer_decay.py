"""Layer-wise decay of the learning rate, for classifiers, segmentors and detectors alike."""

from typing import Callable, List, Optional, Tuple

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ...deferred import leave_out_multimodal
from ...models.mmcv_ops import provide_ops
from ...registry import OPTIM_WRAPPER_CONSTRUCTORS
from .constructor import log_groups, merge_groups

# takes a parameter's name, returns (its layer, number of layers)
LayerDepth = Callable[[str], Tuple[int, int]]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmpretrain's layer decay (BEiT, MAE) for any model with a ``backbone`` that knows the layers of its parameters.

    The rate of layer i of N is ``lr * layer_decay_rate ** (N - 1 - i)``: layer 0 embeds patches, layer i + 1 is block
    i, and the last layer is all that follows the blocks: norm, neck, head, decoder. What is added to mmpretrain's:

    - it asks the whole model for layers, which only its own classifiers know; here the backbone is asked, wherever
      the model comes from (mmseg's constructor knows ``layers.N`` only, and in silence gives ``blocks.N`` one rate);
    - it makes a group of every parameter, which slows fused optimizers down; here equal settings share a group. The
      group with the full rate is the first, which is the one that logs show.

    ``paramwise_cfg`` is mmpretrain's: ``layer_decay_rate``, ``norm_decay_mult``, ``bias_decay_mult``,
    ``flat_decay_mult`` and ``custom_keys``.

    Raises:
        TypeError: The model's backbone does not know layers.
        ValueError: The optimizer states no weight decay.
    """

    def add_params(
        self,
        params: List[dict],
        module: nn.Module,
        prefix: str = '',
        get_layer_depth: Optional[LayerDepth] = None,
        **kwargs,
    ) -> None:
        if not prefix:  # before mmpretrain is imported for the first time
            leave_out_multimodal()
            provide_ops(required=False)
        # imported where it is used: pre-training does not need mmpretrain
        from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor as Theirs

        if self.base_wd is None:
            raise ValueError(
                'layer decay: state optimizer.weight_decay (0 for none), from which each parameter gets its own'
            )
        get_layer_depth = get_layer_depth or find_layer_depth(module)
        Theirs.add_params(self, params, module, prefix=prefix, get_layer_depth=get_layer_depth)
        if prefix:  # theirs recurses through this method
            return
        groups = [{key: value for key, value in group.items() if key != 'param_name'} for group in params]
        params[:] = sorted(merge_groups(groups), key=lambda group: -group['layer_id'])
        log_groups(params)


def find_layer_depth(model: nn.Module) -> LayerDepth:
    """The function that knows the layer of each parameter of a model: its backbone's."""
    backbone = getattr(model, 'backbone', None)
    if hasattr(backbone, 'get_layer_depth'):
        return lambda name: backbone.get_layer_depth(name, 'backbone.')
    if hasattr(model, 'get_layer_depth'):
        return model.get_layer_depth
    raise TypeError(
        f'layer-wise learning rate decay needs a backbone with `get_layer_depth`, which '
        f'{type(backbone if backbone is not None else model).__name__} does not have: use one of '
        "mmmim's (MaskedViT, DenseViT ...), or another optim_wrapper.constructor"
    )
