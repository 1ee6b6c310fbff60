"""How a picture becomes the input of an exported graph: by a test pipeline, in words, and as lines of Pillow."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ...datasets.transforms import CenterCrop, LoadImage, Resize

PACKING = ('PackImage', 'PackInputs', 'PackSegInputs')
# `convert` of Pillow for a number of channels
_MODES = {1: 'L', 3: 'RGB'}


class Pixels(NamedTuple):
    """The way from a file to uint8 ``[C, H, W]``.

    Attributes:
        size: (height, width); None: what ``fit`` makes of the picture.
        kind: ``'crop'``: the central box of the size's shape that holds ``ratio`` of the picture, resized;
            ``'squash'``: the whole picture, resized; ``'fit'``: resized into ``fit``, its shape
            kept.
        interpolation: ``'bicubic'``, ``'bilinear'`` ...
        antialias: Whether what is made smaller is smoothed, as Pillow does and OpenCV does not.
        channels: Of the input; three are red, green and blue.
        bgr: Whether the pipeline itself gives blue first.
        ratio: Share of the picture's side, in (0, 1].
        fit: Pixels of the longer and of the shorter side that are not exceeded.
        least: (height, width) that the graph takes at least.
        value_range: Of images of more than 8 bits, see :class:`.LoadImage`.
        white: Whether transparent pictures are laid over white; else opacity is left out.
    """

    size: Optional[Tuple[int, int]]
    kind: str
    interpolation: str
    antialias: bool = True
    channels: int = 3
    bgr: bool = False
    ratio: float = 1.0
    fit: Tuple[int, int] = (0, 0)
    least: Tuple[int, int] = (1, 1)
    value_range: Optional[Sequence] = None
    white: bool = True

    def words(self) -> Dict[str, Any]:
        """For ``model.json``."""
        known: Dict[str, Any] = dict(
            orientation='upright, as EXIF says',
            values='8 bits; more are mapped from the whole range of their type' if self.white else '8 bits',
            transparency=self._transparency(),
            resize=self.kind,
            interpolation=self.interpolation,
            antialias=self.antialias,
        )
        if self.kind == 'fit':
            known.update(longer_side_at_most=self.fit[0], shorter_side_at_most=self.fit[1], least=list(self.least))
        else:
            known.update(size=list(self.size or ()))
        if self.kind == 'crop':
            known.update(crop_ratio=self.ratio)
        if self.value_range is not None:
            known.update(value_range=self.value_range)
        return known

    def by_pillow(self) -> List[str]:
        """Statements that make ``image``, upright, of ``path``, and of it ``pixels`` of the graph's size.

        Raises:
            ValueError: Pillow alone does not read such images.
        """
        if self.channels not in _MODES or self.value_range is not None:
            raise ValueError(
                f'images of {self.channels} channels'
                + ('' if self.value_range is None else f' with value_range={self.value_range}')
                + ' are not what Pillow reads by itself'
            )
        lines = [
            'image = ImageOps.exif_transpose(Image.open(path))',
            "assert image.mode[0] not in 'IF', path + ' has more than 8 bits'",
        ]
        if self.white:
            over = "Image.new('RGBA', image.size, 'white'), image.convert('RGBA')"
            lines.append(f'image = Image.alpha_composite({over})')
        lines.append(f"image = image.convert('RGB').convert({_MODES[self.channels]!r})")
        method = f'Image.{self.interpolation.upper()}'
        if self.kind == 'crop':
            bleed = (1 - self.ratio) / 2
            return [*lines, f'pixels = ImageOps.fit(image, {self._sides()}, {method}, {bleed!r})']
        if self.antialias:
            return [*lines, f'pixels = image.resize({self._sides()}, {method})']
        size = f'size = {self._sides()}' if self.kind == 'squash' else self._fitted()
        matrix = '(image.width / size[0], 0, 0, 0, image.height / size[1], 0)'
        return [*lines, size, f'pixels = image.transform(size, Image.AFFINE, {matrix}, {method})']

    def _transparency(self) -> str:
        if not self.white:
            return 'left out'
        return 'laid over white' if self.channels in _MODES else 'a channel, where there are 4'

    def _sides(self) -> Tuple[int, int]:
        assert self.size is not None
        return self.size[::-1]

    def _fitted(self) -> str:
        longer, shorter = self.fit
        factor = f'min({longer} / max(image.size), {shorter} / min(image.size))'
        return f'size = [max({max(self.least)}, int(side * {factor} + 0.5)) for side in image.size]'


def of_pipeline(steps: Sequence[Any]) -> Pixels:
    """What a test pipeline does.

    Args:
        steps: Its transforms, built, without those that read annotations.

    Raises:
        ValueError: A transform that is none of these: ``LoadImage``, ``LoadImageFromFile``, our ``CenterCrop`` and
            ``Resize``, mmcv's ``Resize``, and one that packs.
    """
    load, resize = None, None
    for step in steps:
        name = type(step).__name__
        if isinstance(step, LoadImage) or name == 'LoadImageFromFile':
            load = step
        elif resize is None and (isinstance(step, (CenterCrop, Resize)) or name == 'Resize' and _is_plain(step)):
            resize = step
        elif name not in PACKING:
            raise ValueError(
                f'the test pipeline has {name}, which an exported model cannot be described with: it knows LoadImage, '
                'one mmmim.CenterCrop, mmmim.Resize or Resize, and what packs'
            )
    if load is None or resize is None:
        raise ValueError('the test pipeline has no LoadImage, or nothing in it gives images a size')
    ours = isinstance(load, LoadImage)
    channels = load.channels if ours else 3
    read = dict(
        channels=channels,
        bgr=channels == 3 and (not ours or load.decode == 'whole'),
        value_range=load.value_range if ours else None,
        white=ours,
    )
    if isinstance(resize, CenterCrop):
        return Pixels(resize.size, 'crop', resize.interpolation, ratio=resize.ratio, **read)
    if isinstance(resize, Resize):
        return Pixels(resize.size, 'squash', resize.interpolation, **read)
    scale = tuple(resize.scale)
    if resize.keep_ratio:
        return Pixels(None, 'fit', resize.interpolation, False, fit=(max(scale), min(scale)), **read)
    return Pixels(scale[::-1], 'squash', resize.interpolation, False, **read)


def _is_plain(resize: Any) -> bool:
    """Whether mmcv's ``Resize`` has one fixed scale, and OpenCV's bilinear interpolation."""
    return (
        getattr(resize, 'scale', None) is not None
        and getattr(resize, 'backend', '') == 'cv2'
        and getattr(resize, 'interpolation', '') == 'bilinear'
    )
