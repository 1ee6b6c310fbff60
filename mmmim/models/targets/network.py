"""Features of a fixed network, and how its file is read."""

import os
from typing import Optional, Sequence, TypeVar

import torch
from torch import Tensor, nn

from ...checkpoint.peel import unwrap
from ...checkpoint.read import StateDict, load_file
from ..preprocess import IMAGENET_MEAN, IMAGENET_STD
from .base import BaseTarget

Network = TypeVar('Network', bound=nn.Module)


class NetworkTarget(BaseTarget):
    """Features of a pre-trained network, which is never trained and is not part of a checkpoint.

    It runs without gradient and in the precision of the run: bf16 where the model computes in bf16.

    Args:
        mean, std: How the network wants its images normalised, in units of 0..255 (default: ImageNet's).
    """

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.wanted = tuple(mean), tuple(std)
        self.set_image_statistics(mean, std)

    def set_image_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != 3:
            raise ValueError(f'{type(self).__name__} takes images of 3 channels, not {len(mean)}')
        wanted_mean, wanted_std = map(torch.tensor, self.wanted)
        scale, shift = torch.tensor(std) / wanted_std, (torch.tensor(mean) - wanted_mean) / wanted_std
        for name, value in (('scale', scale), ('shift', shift)):
            self.register_buffer(name, value.reshape(1, 3, 1, 1), persistent=False)

    def renormalize(self, images: Tensor) -> Tensor:
        """From the normalisation of the run to the network's: ``[B, 3, H, W]`` float32."""
        return (images * self.scale + self.shift).float()

    def init_weights(self) -> None:
        """Nothing: timm's networks have a method of this name, which would draw their weights anew."""
        self._is_init = True

    def train(self, mode: bool = True) -> 'NetworkTarget':
        """Always in evaluation mode: it is a fixed function."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.compute(images)


def as_constant(network: Network) -> Network:
    """Turn a network's parameters and buffers into buffers that no checkpoint holds, in place: they move between
    devices with the model, and no optimizer sees them."""
    for module in network.modules():
        for name, value in list(module._parameters.items()):
            del module._parameters[name]
            module.register_buffer(name, None if value is None else value.detach(), persistent=False)
        module._non_persistent_buffers_set.update(module._buffers)
    return network.eval()


def read_weights(path: str, name: str, absent: str) -> StateDict:
    """The tensors in the file of a fixed network.

    Args:
        path: Any file that :func:`~mmmim.checkpoint.read.load_file` reads.
        name: What the file should hold, for a message, such as ``'a VGG-16 of torchvision'``.
        absent: What the error says where there is no such file: how to get it.

    Raises:
        FileNotFoundError: ``absent``.
        RuntimeError: The file holds no tensors.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(absent)
    try:
        return dict(unwrap(load_file(path)))
    except ValueError as error:
        raise RuntimeError(f'{path} is not {name}. {error}') from error


def fill_network(
    network: nn.Module, state: StateDict, path: str, name: str, prefix: str = '', exact: bool = False
) -> None:
    """Load a fixed network, completely.

    Args:
        network: What is filled.
        state: Its tensors, under the network's names.
        path, name: Of :func:`read_weights`, for the message.
        prefix: What the file has before these names, for the message.
        exact: Whether the file may hold nothing else.

    Raises:
        RuntimeError: A tensor is missing, has another shape, or (``exact``) is not the network's.
    """
    own = network.state_dict()
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    if wrong:
        raise RuntimeError(
            f'{path} is not {name}: {len(wrong)} of its {len(own)} tensors are missing or of another shape (first: '
            f'{prefix}{wrong[0]})'
        )
    others = [key for key in state if key not in own]
    if exact and others:
        raise RuntimeError(f'{path} is not {name}: {len(others)} tensors are not known (first: {prefix}{others[0]})')
    network.load_state_dict({key: state[key] for key in own})
