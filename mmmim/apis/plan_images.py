"""What a planned config says of reading images: how many channels they have, and which range of values."""

import os.path as osp
from collections import Counter
from typing import Any, Dict, List, Optional

from mmengine.config import Config

from ..config.images import stated_images
from ..config.write import Choice
from ..datasets.io.header import Header
from ..datasets.io.image_io import ImageReadError, ImageSource
from ..datasets.io.pixel_sample import ENOUGH, count_levels, take_sample
from ..datasets.io.value_range import checked_range, shown
from .folder_split import FolderSplit
from .plan_data import sample
from .start import Start

MOST_DEEP = 50  # images whose values are looked at
SAME = 0.95  # share of the images that have to agree in their channels; the others cannot be read
RGB_METHODS = {
    'cmae': 'changes colours of RGB images (without that: a config of its own, with model.data_preprocessor.'
    'target_view=None)',
    'features': 'learns features of a network for RGB images',
}


def choose_images(
    split: FolderSplit, start: Optional[Start], base: Config, method: str, asked: Dict[str, Any]
) -> Dict[str, Choice]:
    """``image_channels`` and ``value_range``, from the headers and values of some images.

    Args:
        split: The images.
        start: Weights to start from, which want images as those that they were trained on.
        base: The method's config.
        method: Its name.
        asked: The same keys, where they were asked for.

    Raises:
        ValueError: Images of different channels or types, or of others than the method or the weights are for.
    """
    headers: Dict[str, Header] = {}
    for path in sample(split):
        try:
            headers[path] = ImageSource(path).header
        except ImageReadError:
            continue
    if not headers:  # said where the size is chosen
        return dict(image_channels=Choice(3, ''), value_range=Choice(None, ''))
    channels = _channels(headers, start, method, asked.get('image_channels'))
    return dict(
        image_channels=channels, value_range=_value_range(headers, start, channels.value, asked.get('value_range'))
    )


def _channels(headers: Dict[str, Header], start: Optional[Start], method: str, asked: Optional[int]) -> Choice:
    pages = {header.pages if header.bands == 1 else 1 for header in headers.values()}
    in_pages = len(pages) == 1  # where their numbers differ, they are pages of a document or a stack
    counts = Counter(header.pages if in_pages and header.bands == 1 else header.bands for header in headers.values())
    told = ', '.join(f'{count} of {bands} channel{"s" * (bands > 1)}' for bands, count in counts.most_common(4))
    usual, many = counts.most_common(1)[0]
    if asked is not None:
        chosen = Choice(int(asked), 'as asked for')
    elif start is not None:
        chosen = Choice(start.encoder.in_chans, f'of {start.name}')
    elif set(counts) <= {1, 3}:
        grey = set(counts) == {1} and method not in RGB_METHODS
        chosen = Choice(1 if grey else 3, 'all images looked at are grey' if grey else '')
    elif many >= SAME * len(headers):
        chosen = Choice(usual, f'as the images have: {told}')
    else:
        raise ValueError(
            f'of {len(headers)} images {told}: one encoder takes one number. Keep one kind in the folder, or set '
            f'image_channels={usual}, and the others cannot be read'
        )
    if method in RGB_METHODS and chosen.value != 3:
        raise ValueError(
            f'the images have {chosen.value} channels (of {len(headers)} looked at {told}), and method={method!r} '
            f'{RGB_METHODS[method]}: take another method, such as mae'
        )
    fitting = any(_fits(header, chosen.value) for header in headers.values())
    if not fitting and not (chosen.value == 4 and asked):
        what = f'{start.name} is for' if start is not None and asked is None else 'asked for are'
        raise ValueError(f'{what} images of {chosen.value} channels, but of {len(headers)} looked at {told}')
    return chosen


def _fits(header: Header, channels: int) -> bool:
    """Whether an image can be read with this number of channels."""
    grey_or_colour = channels in (1, 3) and header.bands in (1, 3)
    return grey_or_colour or header.bands == channels or (header.bands == 1 and header.pages == channels)


def _value_range(headers: Dict[str, Header], start: Optional[Start], channels: int, asked: Any) -> Choice:
    deep = [path for path, header in headers.items() if header.deep]
    wanted, reason = checked_range(asked, channels), 'as asked for'
    if wanted is None and start is not None:
        wanted = checked_range(stated_images(start.source.cfg).get('value_range'), channels)
        reason = f'of {start.name}'
    if wanted is not None:
        return Choice(shown(wanted), reason)
    if not deep:
        return Choice(None, '')
    _check_types([headers[path] for path in deep], osp.dirname(deep[0]))
    step = -(-len(deep) // MOST_DEEP)
    look = take_sample(ImageSource(path, channels) for path in deep[::step])
    found = look.find_range()
    if found is None:
        return Choice(None, '')
    levels = count_levels(look.as_read(found.value_range))
    few = f'; {levels} levels of 256 are in use' if levels < ENOUGH else ''
    rest = '' if len(deep) == len(headers) else f'; {len(headers) - len(deep)} of {len(headers)} have 8 bits and stay'
    return Choice(found.value_range, f'{headers[deep[0]].dtype}; {found.reason}{few}{rest}')


def _check_types(headers: List[Header], folder: str) -> None:
    kinds = Counter(str(header.dtype) for header in headers)
    if len(kinds) > 1:
        told = ', '.join(f'{count} of {kind}' for kind, count in kinds.most_common())
        raise ValueError(
            f'the images under {folder} hold different types: {told}. One range is for all: convert them to one type, '
            'or state the range that is meant for all: value_range=(low, high)'
        )
