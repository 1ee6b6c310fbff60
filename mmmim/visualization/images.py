"""The images that a command line names, and tensors as pictures."""

import glob
import os
import sys
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import randomness
from ..datasets.inputs import named
from ..datasets.io.file_list import list_images
from ..datasets.io.image_io import ImageReadError
from ..datasets.loading import mim_collate


class Images(NamedTuple):
    """A batch of the readable images, and the unreadable ones."""

    batch: dict  # inputs uint8 [B, C, H, W], data_samples
    paths: List[str]
    skipped: List[Tuple[str, str]]  # path, reason


def find_images(names: Sequence[str], limit: int) -> Tuple[List[str], int]:
    """Files, folders (with all below them), patterns, lists (.txt, .csv) and tars to a list of files.

    Returns:
        At most ``limit`` files, evenly spread over the whole list, and the length of that list.

    Raises:
        FileNotFoundError: A name without images.
        ValueError: A limit below 1.
    """
    if limit < 1:
        raise ValueError(f'at most {limit} images: give at least 1')
    files: List[str] = []
    for name in names:
        ending = os.path.splitext(name)[1]  # 'g/*' is no name of a list, but 'lists/*.txt' is
        places = [name] if os.path.exists(name) else sorted(glob.glob(os.path.expanduser(name), recursive=True))
        # cache_from: reading a folder is no reason to write beside it
        found = [
            file
            for place in places
            for file in (
                [os.path.join(place, below) for below in list_images(place, cache_from=sys.maxsize)]
                if os.path.isdir(place)
                else named(place)
                if os.path.splitext(place)[1] == ending
                else [place]
            )
        ]
        if not found:
            raise FileNotFoundError(
                f"there are no images at {name!r}: give files, folders, or patterns such as 'photos/*.jpg'"
            )
        files += found
    count = min(limit, len(files))
    return [files[(2 * k + 1) * len(files) // (2 * count)] for k in range(count)], len(files)


def read_images(paths: Sequence[str], pipeline: Sequence[Any], seed: int = 0) -> Images:
    """Run a test pipeline over files.

    Args:
        paths: The files.
        pipeline: Transforms, the last of which packs.
        seed: With the index in ``paths`` it determines an image's mask.

    Raises:
        ValueError: None of the files is a readable image; names the first.
    """
    samples, read, skipped = [], [], []
    for index, path in enumerate(paths):
        sample_seed = randomness.derive(seed, index)
        randomness.seed_generators(randomness.derive(sample_seed, randomness.AUGMENT))
        results = dict(img_path=path, sample_idx=index, seed=sample_seed, replaced=[])
        try:
            for transform in pipeline:
                results = transform(results)
        except ImageReadError as error:
            skipped.append((error.path, error.reason))
            continue
        samples.append(results)
        read.append(path)
    if not samples:
        raise ValueError(
            f'none of the {len(skipped)} files is a readable image; the first: {skipped[0][0]}: {skipped[0][1]}'
        )
    return Images(mim_collate(samples), read, skipped)


GREY = 127  # grey value of removed patches


def to_tile(image: Tensor, preprocessor: nn.Module) -> np.ndarray:
    """A normalised image ``[C, H, W]`` as ``[H, W, 3]`` uint8.

    Of more than three channels the first three are shown; of one or two, the first, as grey.
    """
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessor.mean, preprocessor.std))
    pixels = (image.float().cpu() * std + mean).round().clamp(0, 255).byte()
    pixels = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    return pixels.permute(1, 2, 0).contiguous().numpy()
