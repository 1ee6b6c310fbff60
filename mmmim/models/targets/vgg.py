"""Perceptual features."""

import os
from typing import Dict, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..build import check_choice, key_of
from ..patches import Size, cells_per_place, join_cells, to_2tuple
from .network import NetworkTarget, as_constant, fill_network, read_weights

FILE = 'vgg16-397923af.pth'  # torchvision's ImageNet weights
NAME = 'a VGG-16 of torchvision'


@MODELS.register_module()
class VGGTarget(NetworkTarget):
    """Features of torchvision's VGG-16 (Johnson et al., 2016, "perceptual"), ``[B, L, channels]``.

    CrossMAE (Table 9) does not name the layer. The default is the one by which Johnson et al. compare content.

    Args:
        grid_size: (h, w) patches (filled in by the algorithm).
        layer: ``'relu1_1'`` ... ``'relu5_3'``.
        reduce: How a patch's vectors become one, where the map is finer than the patches: their ``'mean'``, or all of
            them one after another (``'flatten'``).
        weights: Path of torchvision's state dict of VGG-16. None: where torch hub keeps it.

    Raises:
        FileNotFoundError: There are no weights.
        RuntimeError: The file is no VGG-16.
        ValueError: An unknown layer, or a map whose positions do not come whole to each patch.
    """

    def __init__(
        self,
        grid_size: Tuple[int, int],
        patch_size: Size = 16,
        layer: str = 'relu3_3',
        reduce: str = 'mean',
        weights: Optional[str] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        from torchvision.models.vgg import cfgs, make_layers  # not needed by other targets

        layers = name_layers(vgg := make_layers(cfgs['D']))  # the convolutions of VGG-16, without its classifier
        check_choice('layer', layer, tuple(layers))
        check_choice('reduce', reduce, ('mean', 'flatten'))
        self.grid_size, self.reduce = to_2tuple(grid_size), reduce
        network = vgg[: layers[layer] + 1]
        self.cells = self._cells(network, patch_size)
        channels = [part.out_channels for part in network if isinstance(part, nn.Conv2d)][-1]
        self.out_dim = channels * (self.cells[0] * self.cells[1] if reduce == 'flatten' else 1)
        load_vgg(network, weights)
        self.network = as_constant(network)

    def _cells(self, network: nn.Sequential, patch_size: Size) -> Tuple[int, int]:
        halvings = sum(isinstance(part, nn.MaxPool2d) for part in network)
        stride, sides = 2**halvings, to_2tuple(patch_size)
        fine = (self.grid_size[0] * sides[0] // stride, self.grid_size[1] * sides[1] // stride)
        try:
            return cells_per_place(fine, self.grid_size)
        except ValueError as error:
            raise ValueError(
                f'VGGTarget: {error}: the layer comes after {halvings} halvings of the image, too many '
                f'for patches of {sides[0]}x{sides[1]} pixels; take an earlier layer'
            ) from None

    def compute(self, images: Tensor) -> Tensor:
        x = self.network(self.renormalize(images))
        if self.reduce == 'mean':
            return F.avg_pool2d(x, self.cells).flatten(2).transpose(1, 2)
        return join_cells(x.flatten(2).transpose(1, 2), self.grid_size, self.cells)


def name_layers(features: nn.Sequential) -> Dict[str, int]:
    """``{'relu1_1': place}`` of all ReLUs: the block (ended by a pooling), and their number in it."""
    names, block, number = {}, 1, 0
    for place, part in enumerate(features):
        if isinstance(part, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(part, nn.ReLU):
            number += 1
            names[f'relu{block}_{number}'] = place
    return names


def load_vgg(network: nn.Sequential, weights: Optional[str]) -> None:
    """Fill the first layers of VGG-16 from torchvision's file."""
    path = weights or os.path.join(torch.hub.get_dir(), 'checkpoints', FILE)
    state = read_weights(
        path,
        NAME,
        f'VGGTarget needs the weights of VGG-16, and there is no file {path!r}. Fetch {FILE} with `python -c '
        '"import torchvision; torchvision.models.vgg16(weights=\'IMAGENET1K_V1\')"`, or set '
        f'{key_of("weights", "target")} to the path of that file',
    )
    state = {key.removeprefix('features.'): value for key, value in state.items() if key.startswith('features.')}
    fill_network(network, state, path, NAME, prefix='features.')
