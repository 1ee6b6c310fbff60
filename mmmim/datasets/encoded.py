"""JPEGs that are decoded on the device, in a batch, instead of in the loading workers."""
import warnings
from dataclasses import dataclass, replace
from typing import Dict, List, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .image_io import ImageSource


@dataclass(frozen=True)
class EncodedCrop:
    """A JPEG file and the box of it that is wanted, which a worker has drawn.

    Attributes:
        content: The file.
        path: Its name, for messages; crops of one name in a batch are decoded once.
        box: ``(left, top, width, height)``, whole pixels.
        size: ``(height, width)`` that the box is resized to.
        interpolation: bilinear or bicubic.
        mirrored: Whether the result is mirrored left to right.
    """

    content: bytes
    path: str
    box: Tuple[int, int, int, int]
    size: Tuple[int, int]
    interpolation: str
    mirrored: bool = False

    def mirror(self) -> 'EncodedCrop':
        """The same crop the other way round."""
        return replace(self, mirrored=not self.mirrored)

    def read(self) -> bytes:
        """The file, as :class:`ImageSource` asks for it."""
        return self.content

    def pixels(self) -> np.ndarray:
        """``[height, width, 3]`` uint8, decoded here and now. Raises :class:`ImageReadError`."""
        image = ImageSource(self).crop(self.box, self.size, self.interpolation)
        return image[:, ::-1] if self.mirrored else image


def decode_crops(crops: Sequence[Union[EncodedCrop, Tensor]], device: Union[str, torch.device]) -> Tensor:
    """Decode a batch: on a GPU by nvJPEG, on the CPU by libjpeg-turbo, through torchvision.

    Images are decoded at their full size, as nvJPEG knows no other, then cut, resized with antialiasing and rounded.
    What the device cannot decode is decoded on the CPU, with a warning.

    Args:
        crops: Some of them may be decoded already, ``[3, height, width]`` uint8: files that are no plain JPEG.
        device: Where to.

    Returns:
        ``[B, 3, height, width]``, whole numbers from 0 to 255 in float32, on the device.

    Raises:
        ImageReadError: A file that no decoder reads; its name is in it.
        ValueError: Crops of different sizes.
    """
    files = {crop.path: crop for crop in crops if isinstance(crop, EncodedCrop)}
    images = _decode(files, device)
    made: List[Tensor] = []
    for crop in crops:
        if isinstance(crop, Tensor):
            made.append(crop.to(device, non_blocking=True).float())
        elif images[crop.path] is None:
            pixels = np.ascontiguousarray(crop.pixels().transpose(2, 0, 1))
            made.append(torch.from_numpy(pixels).to(device).float())
        else:
            made.append(_cut(images[crop.path], crop))
    shapes = sorted({tuple(image.shape[1:]) for image in made})
    if len(shapes) > 1:
        raise ValueError(f'a batch needs crops of one size, but these are of {shapes} (height, width)')
    return torch.stack(made)


def _decode(files: Dict[str, EncodedCrop], device: Union[str, torch.device]) -> Dict[str, Union[Tensor, None]]:
    """``[3, H, W]`` uint8 for each file; None for one that torchvision does not decode."""
    from torchvision.io import ImageReadMode, decode_jpeg

    def decode(contents: List[bytes]) -> List[Tensor]:
        # a bytearray: torch wants memory that could be written to
        tensors = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in contents]
        return decode_jpeg(tensors, mode=ImageReadMode.RGB, device=device)

    if not files:
        return {}
    try:
        return dict(zip(files, decode([crop.content for crop in files.values()])))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # of one file, it does not say which
        images = {}
        for path, crop in files.items():
            try:
                images[path], = decode([crop.content])
            except RuntimeError as error:  # without the path, so that it is said once for all files like it
                warnings.warn(f'{device} does not decode some JPEGs, which is done on the CPU: '
                              f'{str(error).splitlines()[0]}', stacklevel=2)
                images[path] = None
        return images


def _cut(image: Tensor, crop: EncodedCrop) -> Tensor:
    left, top, width, height = crop.box
    part = image[:, top:top + height, left:left + width].float()
    if tuple(part.shape[1:]) != crop.size:
        part = F.interpolate(part[None], crop.size, mode=crop.interpolation, antialias=True)[0].round_().clamp_(0, 255)
    return part.flip(2) if crop.mirrored else part
