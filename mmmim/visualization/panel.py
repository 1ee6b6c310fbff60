"""A table of pictures with titles, saved as one PNG from which the pictures can be loaded again."""

import io
import json
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from ..checkpoint import atomic_write_bytes

# key of the description in a PNG of ours
TEXT_KEY = 'mmmim.panel'

TILE_SIDE = 192  # small tiles are enlarged by a whole factor, so that their longer side has about this many pixels
GAP, MARGIN, FONT_SIZE, SMALL_FONT_SIZE = 6, 12, 16, 13
PAPER, INK, FAINT_INK = (255, 255, 255), (30, 30, 30), (110, 110, 110)

Box = Tuple[int, int, int, int]


class _Layout(NamedTuple):
    """Positions of all elements, in pixels of the drawing."""

    size: Tuple[int, int]
    scale: int  # drawn pixels per pixel of a tile
    boxes: List[List[Box]]  # (left, top, width, height) of each tile as drawn
    titles: List[List[str]]  # lines of each column's title
    captions: List[str]  # lines at the bottom


@dataclass
class Panel:
    """Rows of pictures under column titles.

    Attributes:
        tiles: ``[rows][columns]`` of ``[H, W, 3]`` uint8; sizes may differ.
        columns: A title for each column.
        row_names: A name for each row, drawn above it; ``''`` for none. An empty list stands for no names at all.
        notes: Further information (epoch, checkpoint ...), as JSON. ``notes['caption']`` is drawn at the bottom.

    Raises:
        ValueError: The numbers of tiles, titles and names do not agree, or a tile is no ``[H, W, 3]`` uint8.
    """

    tiles: List[List[np.ndarray]]
    columns: List[str]
    row_names: List[str] = field(default_factory=list)
    notes: Dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.row_names = list(self.row_names) or [''] * len(self.tiles)
        if not self.tiles or not self.columns:
            raise ValueError('a panel needs at least one row and one column')
        if len(self.row_names) != len(self.tiles) or any(len(row) != len(self.columns) for row in self.tiles):
            raise ValueError(
                f'{len(self.columns)} columns and {len(self.row_names)} row names do not fit rows of '
                f'{[len(row) for row in self.tiles]} tiles'
            )
        for tile in (tile for row in self.tiles for tile in row):
            if tile.dtype != np.uint8 or tile.ndim != 3 or tile.shape[2] != 3 or 0 in tile.shape:
                raise ValueError(f'a tile must be uint8 [H, W, 3], not {tile.dtype} {list(tile.shape)}')

    def draw(self) -> Image.Image:
        """The whole table as an RGB image."""
        return self._draw(self._layout())

    def save(self, path: str) -> None:
        """Write a PNG in one step, with all that :meth:`load` needs in a text chunk.

        Raises:
            CheckpointWriteError: The file cannot be written; an earlier file is untouched.
        """
        layout = self._layout()
        text = PngImagePlugin.PngInfo()
        text.add_text(
            TEXT_KEY,
            json.dumps(
                dict(
                    scale=layout.scale,
                    boxes=layout.boxes,
                    columns=self.columns,
                    row_names=self.row_names,
                    notes=self.notes,
                )
            ),
        )
        data = io.BytesIO()
        self._draw(layout).save(data, format='PNG', pnginfo=text)
        atomic_write_bytes(data.getvalue(), path)

    @classmethod
    def load(cls, path: str) -> 'Panel':
        """Load a panel that :meth:`save` wrote; tiles are identical bit by bit.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no PNG of a panel.
        """
        try:
            with Image.open(path, formats=['PNG']) as image:
                image.load()
                about = json.loads(image.text[TEXT_KEY])
                pixels = np.asarray(image.convert('RGB'))
            step = about['scale']
            tiles = [
                [
                    pixels[top : top + height : step, left : left + width : step].copy()
                    for left, top, width, height in row
                ]
                for row in about['boxes']
            ]
            return cls(tiles, about['columns'], about['row_names'], about['notes'])
        except FileNotFoundError:
            raise
        except Exception as error:  # Pillow and json raise many kinds
            raise ValueError(
                f'{os.fspath(path)} is not a panel of pictures that was saved here: {type(error).__name__}: {error}'
            ) from error

    def _layout(self) -> _Layout:
        longest = max(max(tile.shape[:2]) for row in self.tiles for tile in row)
        scale = max(1, round(TILE_SIDE / longest))
        widths = [scale * max(row[i].shape[1] for row in self.tiles) for i in range(len(self.columns))]
        heights = [scale * max(tile.shape[0] for tile in row) for row in self.tiles]
        lefts = [MARGIN + sum(widths[:i]) + i * GAP for i in range(len(widths))]
        titles = [_wrap(title, FONT_SIZE, width) for title, width in zip(self.columns, widths)]
        right = lefts[-1] + widths[-1]
        top = MARGIN + max(map(len, titles)) * _line_height(FONT_SIZE) + GAP
        boxes = []
        for row, name, height in zip(self.tiles, self.row_names, heights):
            top += _line_height(SMALL_FONT_SIZE) if name else 0
            boxes.append([(left, top, scale * tile.shape[1], scale * tile.shape[0]) for left, tile in zip(lefts, row)])
            top += height + GAP
        caption = self.notes.get('caption')
        captions = _wrap(str(caption), SMALL_FONT_SIZE, right - MARGIN) if caption else []
        bottom = top + len(captions) * _line_height(SMALL_FONT_SIZE) if captions else top - GAP
        return _Layout((right + MARGIN, bottom + MARGIN), scale, boxes, titles, captions)

    def _draw(self, layout: _Layout) -> Image.Image:
        image = Image.new('RGB', layout.size, PAPER)
        pen = ImageDraw.Draw(image)
        small = _line_height(SMALL_FONT_SIZE)
        width = layout.size[0] - 2 * MARGIN
        for (left, *_), lines in zip(layout.boxes[0], layout.titles):
            for i, line in enumerate(lines):
                pen.text((left, MARGIN + i * _line_height(FONT_SIZE)), line, INK, _font(FONT_SIZE))
        for row, name, boxes in zip(self.tiles, self.row_names, layout.boxes):
            name = _shorten(name, SMALL_FONT_SIZE, width)
            pen.text((MARGIN, boxes[0][1] - small), name, FAINT_INK, _font(SMALL_FONT_SIZE))
            for tile, (left, top, *size) in zip(row, boxes):
                picture = Image.fromarray(np.ascontiguousarray(tile))
                image.paste(picture.resize(size, Image.Resampling.NEAREST), (left, top))
        top = layout.size[1] - MARGIN - len(layout.captions) * small
        for i, line in enumerate(layout.captions):
            pen.text((MARGIN, top + i * small), line, FAINT_INK, _font(SMALL_FONT_SIZE))
        return image


def _font(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _line_height(size: int) -> int:
    return size + 4


def _wrap(text: str, size: int, width: int) -> List[str]:
    """Lines of whole words, at most ``width`` pixels long where a single word allows it."""
    font, lines = _font(size), ['']
    for word in text.split():
        longer = f'{lines[-1]} {word}'.strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _shorten(text: str, size: int, width: int) -> str:
    """The end of a text, which distinguishes files of one folder."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f'...{text}') > width:
        text = text[1:]
    return f'...{text}'
