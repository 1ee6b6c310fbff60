"""From tensors to pixels."""

import numpy as np
import torch
from torch import Tensor, nn

GREY = 127  # what a removed patch is shown as


def to_tile(image: Tensor, preprocessor: nn.Module) -> np.ndarray:
    """A normalised image ``[C, H, W]`` as ``[H, W, 3]`` uint8.

    Of more than three channels the first three are shown; of one or two, the first, as grey.
    """
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessor.mean, preprocessor.std))
    pixels = (image.float().cpu() * std + mean).round().clamp(0, 255).byte()
    pixels = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    return pixels.permute(1, 2, 0).contiguous().numpy()
