"""JPEGs that are decoded on the device, in a batch, instead of in the loading workers."""

import sys
import warnings
from dataclasses import dataclass, replace
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .image_io import ImageReadError, ImageSource

# CUDA's antialiased resizing refuses reductions above 47 along both axes: its filters do not fit into shared memory
_LARGEST_REDUCTION = 16


@dataclass(frozen=True)
class EncodedCrop:
    """A JPEG file and the crop box that a worker has drawn.

    Attributes:
        content: Bytes of the file.
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
        """The same crop, mirrored."""
        return replace(self, mirrored=not self.mirrored)

    def read(self) -> bytes:
        """Bytes of the file, for :class:`ImageSource`."""
        return self.content

    def pixels(self) -> np.ndarray:
        """``[height, width, 3]`` uint8, decoded here and now. Raises :class:`ImageReadError`."""
        image = ImageSource(self).crop(self.box, self.size, self.interpolation)
        return image[:, ::-1] if self.mirrored else image


class SampleWithoutPixels(dict):
    """A sample in a pipeline that has ``encoded`` instead of ``img``.

    Raises:
        ValueError: On access to ``img``, also by ``in`` or ``get``, since a transform that checks for it would skip the
            image silently.
    """

    def __missing__(self, key: Any) -> None:
        if key == 'img':
            self._refuse()
        raise KeyError(key)

    def __contains__(self, key: Any) -> bool:
        there = super().__contains__(key)
        if key == 'img' and not there:
            self._refuse()
        return there

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in self else default

    def _refuse(self) -> None:
        frame = sys._getframe()
        while frame and frame.f_locals.get('self', self) is self:  # up to a method of another object
            frame = frame.f_back
        name = type(frame.f_locals['self']).__name__ if frame else 'a transform'
        raise ValueError(
            f"{name} needs pixels, which there are none of yet: LoadImage(decode='device') works with "
            "mmmim's crops, RandomFlip and PackImage, and with transforms that ask for the image by "
            "mmmim's current_image. Use LoadImage(decode='worker') in this pipeline"
        )


class StandIn(NamedTuple):
    """Index in the batch of the image that replaces an unreadable one, and why it can't be read."""

    place: int
    error: ImageReadError


def decode_crops(
    crops: Sequence[Union[EncodedCrop, Tensor]], device: Union[str, torch.device]
) -> Tuple[Tensor, Dict[int, StandIn]]:
    """Decode a batch: on a GPU by nvJPEG, on the CPU by libjpeg-turbo, through torchvision.

    Images are decoded at their full size, as nvJPEG knows no other, then cut, resized with antialiasing and rounded. An
    image that the device cannot decode is decoded on the CPU, with a warning. One that no decoder reads is replaced by
    the next image of the batch (after the last, the first). That depends on the rest of the batch, unlike the
    replacement in :class:`~mmmim.datasets.retrying.RetryingDataset`, but not on earlier steps.

    Args:
        crops: Some of them may be decoded already, ``[3, height, width]`` uint8: files that are no plain JPEG.
        device: Device of the result.

    Returns:
        ``[B, 3, height, width]``, whole numbers from 0 to 255 in float32, on the device; and, for unreadable images,
        ``{index in batch: StandIn}``.

    Raises:
        ImageReadError: None of the batch can be read; the name of the first is in it.
        ValueError: Crops of different sizes.
    """
    device = torch.device(device)
    images = _decode({crop.path: crop for crop in crops if isinstance(crop, EncodedCrop)}, device)
    made: Dict[int, Tensor] = {}
    errors: Dict[int, ImageReadError] = {}
    for place, crop in enumerate(crops):
        try:
            made[place] = _image(crop, images, device)
        except ImageReadError as error:
            errors[place] = error
    if not made:
        raise errors[0]
    shapes = sorted({tuple(image.shape[1:]) for image in made.values()})
    if len(shapes) > 1:
        raise ValueError(f'a batch needs crops of one size, but these are of {shapes} (height, width)')
    stand_ins = {
        place: StandIn(min(made, key=lambda other: (other - place) % len(crops)), error)
        for place, error in errors.items()
    }
    batch = [made[stand_ins[place].place if place in stand_ins else place] for place in range(len(crops))]
    return torch.stack(batch), stand_ins


def _image(crop: Union[EncodedCrop, Tensor], images: Dict[str, Optional[Tensor]], device: torch.device) -> Tensor:
    """``[3, height, width]`` float32 on the device. Raises :class:`ImageReadError`."""
    if isinstance(crop, Tensor):
        return crop.to(device, non_blocking=True).float()
    if images[crop.path] is not None:
        return _cut(images[crop.path], crop)
    pixels = np.ascontiguousarray(crop.pixels().transpose(2, 0, 1))
    return torch.from_numpy(pixels).to(device).float()


def _decode(files: Dict[str, EncodedCrop], device: torch.device) -> Dict[str, Optional[Tensor]]:
    """``[3, H, W]`` uint8 for each file; None for one that torchvision does not decode."""
    from torchvision.io import ImageReadMode, decode_jpeg

    def decode(contents: List[bytes]) -> List[Tensor]:
        # a bytearray: torch needs writable memory
        tensors = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in contents]
        if device.type == 'cuda':
            # torchvision allocates the images on the current stream, but nvJPEG writes them on another stream that does
            # not wait for it: kernels still queued would read pixels instead of their inputs (pytorch/vision#9606).
            # The host synchronises, as nvJPEG's hardware decoder does not keep a stream's order
            # (meta-pytorch/torchcodec#1634). The price: the previous step has to end first, and the GPU has nothing
            # queued while the host prepares the decoding.
            torch.cuda.current_stream(device).synchronize()
        return decode_jpeg(tensors, mode=ImageReadMode.RGB, device=device)

    if not files:
        return {}
    try:
        return dict(zip(files, decode([crop.content for crop in files.values()])))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # from one of the files, it does not say which
        images = {}
        for path, crop in files.items():
            try:
                (images[path],) = decode([crop.content])
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # without the path, so that all such files give one warning
                if device.type == 'cuda':  # it may still write to memory that is free now
                    torch.cuda.synchronize(device)
                warnings.warn(
                    f'{device} does not decode some JPEGs, which is done on the CPU: {str(error).splitlines()[0]}',
                    stacklevel=2,
                )
                images[path] = None
        return images


def _cut(image: Tensor, crop: EncodedCrop) -> Tensor:
    """The crop ``[3, height, width]`` out of the image ``[3, H, W]``, in float32."""
    left, top, width, height = crop.box
    part = image[:, top : top + height, left : left + width].float()
    # average pooling first, to eight pixels for each output pixel: the edges of the box stay where they are
    pooled = [
        8 * wanted if side > _LARGEST_REDUCTION * wanted else side for side, wanted in zip((height, width), crop.size)
    ]
    if pooled != [height, width]:
        part = F.adaptive_avg_pool2d(part, pooled)
    if tuple(part.shape[1:]) != crop.size:
        part = F.interpolate(part[None], crop.size, mode=crop.interpolation, antialias=True)[0].round_().clamp_(0, 255)
    return part.flip(2) if crop.mirrored else part
