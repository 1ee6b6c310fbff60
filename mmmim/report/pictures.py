"""The report's pictures: the newest reconstructions, how they grew, and several runs side by side."""

import base64
import io
import os.path as osp
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from ..visualization.panel import Panel
from .run_curve import evenly, number
from .run_data import RunData

MOST_EPOCHS = 5  # columns of the strip that shows how a reconstruction grew
PICTURE_BYTES = 1_700_000  # for all pictures of a page together; base64 adds a third
LEAK = "original patch's mean and variance"


class Picture(NamedTuple):
    """A picture inside the page; ``source`` is a data URL, a ``tiny`` one is enlarged without blur."""

    source: str
    text: str
    width: int
    height: int
    tiny: bool


class Grid(NamedTuple):
    """Pictures in columns under titles: a row is its pictures and its name, '' for none."""

    titles: Sequence[str]
    rows: List[Tuple[List[Picture], str]]


class Gallery(NamedTuple):
    """A grid under a heading; ``label`` says what it is."""

    heading: str
    label: str
    grid: Grid


class Room(NamedTuple):
    """How much of each run is shown, so that the page stays below 3 MB."""

    rows: int  # of the newest panel
    strip_rows: int
    side: int  # longest side of an embedded picture, in pixels
    tile_bytes: int  # of an embedded picture

    @classmethod
    def for_runs(cls, count: int) -> 'Room':
        rows, strip_rows, side = {1: (8, 4, 224), 2: (6, 3, 224)}.get(count, (max(2, 12 // count), 2, 160))
        tiles = count * (4 * rows + (MOST_EPOCHS + 1) * strip_rows) + (count + 2) * strip_rows
        return cls(rows, strip_rows, side, PICTURE_BYTES // tiles)

    def picture(self, tile: np.ndarray, text: str) -> Picture:
        """A tile that fits."""
        image = Image.fromarray(np.ascontiguousarray(tile))
        image.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        kind, data = _encode(image, self.tile_bytes)
        source = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
        return Picture(source, text, *image.size, tiny=kind == 'png')


class Shown(NamedTuple):
    """A panel and what its rows are called across panels."""

    epoch: str
    panel: Panel
    keys: List[str]

    @property
    def reconstruction(self) -> Optional[int]:
        """The column of reconstructions; None where the target cannot paint."""
        columns = [i for i, title in enumerate(self.panel.columns) if title.startswith('reconstruction')]
        return columns[0] if columns else None

    @property
    def leaks(self) -> bool:
        """Whether it was painted with numbers that the model was not shown."""
        return bool(self.panel.notes.get('uses_original_statistics'))

    def title(self, column: int) -> str:
        """Of a column; a reconstruction that leaks says so."""
        title = self.panel.columns[column]
        needs_label = column == self.reconstruction and self.leaks and 'mean and variance' not in title
        return f'{title} ({LEAK})' if needs_label else title

    def tile(self, key: str, column: int) -> np.ndarray:
        """``[H, W, 3]``: of the row that is called so."""
        return self.panel.tiles[self.keys.index(key)][column]

    def rows(self, first: Sequence[str], most: int) -> List[int]:
        """At most so many, those of ``first`` before others."""
        return sorted(range(len(self.keys)), key=lambda row: (self.keys[row] not in first, row))[:most]


def pictures(runs: Sequence[RunData]) -> Dict[str, Any]:
    """What the section shows: whose pictures are ``leaking``, runs ``together``, and ``each`` run on its own."""
    room = Room.for_runs(len(runs))
    shown = [(slot, run, load_panels(run)) for slot, run in enumerate(runs)]
    shown = [(slot, run, panels) for slot, run, panels in shown if panels]
    newest = [(run, panels[-1]) for _, run, panels in shown]
    common = [key for key in newest[0][1].keys if all(key in panel.keys for _, panel in newest)] if newest else []
    each = []
    for slot, run, panels in shown:
        grids, growth = _newest(panels[-1], common, room), _growth(panels, common, room)
        each.append(dict(slot=slot, name=run.name, epoch=panels[-1].epoch, sheets=grids, growth=growth))
    return dict(
        leak=LEAK,
        leaking=[run.name for run, panel in newest if panel.leaks],
        together=_together(newest, common[: room.strip_rows], room) if common else None,
        each=each,
    )


def load_panels(run: RunData) -> List[Shown]:
    """The newest panel of a run and some earlier ones, oldest first; what cannot be read is noted."""
    places = list(range(len(run.panels)))
    newest = None
    while places and newest is None:
        newest = _load(run, places.pop())
    earlier = [_load(run, places[place]) for place in evenly(len(places), MOST_EPOCHS - 1)]
    return [shown for shown in (*earlier, newest) if shown]


def _load(run: RunData, place: int) -> Optional[Shown]:
    stem, path = run.panels[place]
    panel = load_panel(run, f'reconstructions/{osp.basename(path)}')
    if panel is None:
        return None
    epoch, images = number(panel.notes.get('epoch')), panel.notes.get('images')
    named = isinstance(images, list) and len(images) == len(panel.tiles) and all(images)
    keys = [str(key) for key in (images if named else panel.row_names)]
    if len(set(keys)) < len(keys):
        keys = [f'row {i}' for i in range(len(keys))]
    return Shown(f'epoch {stem if epoch is None else epoch:g}', panel, keys)


def load_panel(run: RunData, name: str) -> Optional[Panel]:
    """A panel in the work dir; None where it cannot be read, which is noted."""
    try:
        return Panel.load(osp.join(run.path, name))
    except (OSError, ValueError):
        run.notes.append(f'{name}: it is no panel of pictures, or not whole')
        return None


def sheets(
    panel: Panel, titles: Sequence[str], rows: Sequence[int], room: Room, named: bool = True, wide: bool = False
) -> List[Grid]:
    """Rows of a panel, unless it is ``wide`` in two stacks that share the width of the page."""
    cells = []
    for row in rows:
        name = panel.row_names[row]
        shown = [room.picture(tile, f'{title}: {name}') for tile, title in zip(panel.tiles[row], titles)]
        cells.append((shown, name if named else ''))
    half = len(cells) if wide else (len(cells) + 1) // 2
    return [Grid(titles, stack) for stack in (cells[:half], cells[half:]) if stack]


def _newest(shown: Shown, first: Sequence[str], room: Room) -> List[Grid]:
    """All columns of the newest panel."""
    rows, columns = shown.rows(first, room.rows), range(len(shown.panel.columns))
    return sheets(shown.panel, [*map(shown.title, columns)], rows, room, wide=len(columns) > 4 or len(rows) < 4)


def _growth(panels: Sequence[Shown], first: Sequence[str], room: Room) -> Optional[Gallery]:
    """The same images reconstructed epoch by epoch."""
    newest = panels[-1]
    keys = [newest.keys[row] for row in newest.rows(first, room.strip_rows)]
    panels = [shown for shown in panels if shown.reconstruction is not None and set(keys) <= set(shown.keys)]
    if len(panels) < 2:
        return None
    columns = [(shown.epoch, f'reconstruction, {shown.epoch}', shown) for shown in panels]
    heading = f'{panels[-1].title(panels[-1].reconstruction)}, epoch by epoch'
    return Gallery(heading, 'reconstructions epoch by epoch', _reconstructions(newest, [0], columns, keys, room))


def _together(newest: Sequence[Tuple[RunData, Shown]], keys: Sequence[str], room: Room) -> Optional[Gallery]:
    """The same images as each run reconstructs them."""
    newest = [(run, shown) for run, shown in newest if shown.reconstruction is not None]
    if len(newest) < 2:
        return None
    masked = _common_masks([shown for _, shown in newest], keys)
    leading, masks = ([0], ', each under its own mask') if masked is None else ([0, masked], '')
    columns = []
    for run, shown in newest:
        title = f'{run.name} ({shown.epoch}{f"; {LEAK}" if shown.leaks else ""})'
        columns.append((title, f'{run.name}, {shown.epoch}, reconstruction', shown))
    grid = _reconstructions(newest[0][1], leading, columns, keys, room)
    return Gallery(f'The same images, reconstructed by each run{masks}', 'reconstructions of all runs', grid)


def _reconstructions(
    first: Shown, leading: Sequence[int], columns: Sequence[Tuple[str, str, Shown]], keys: Sequence[str], room: Room
) -> Grid:
    """A row an image: the ``leading`` columns of one panel, then reconstructions as ``(title, text, panel)``."""
    rows = []
    for key in keys:
        tiles = [(first.tile(key, column), first.title(column)) for column in leading]
        tiles += [(shown.tile(key, shown.reconstruction), text) for _, text, shown in columns]
        rows.append(([room.picture(tile, f'{text}: {key}') for tile, text in tiles], ''))
    return Grid([*map(first.title, leading), *(title for title, _, _ in columns)], rows)


def _common_masks(shown: Sequence[Shown], keys: Sequence[str]) -> Optional[int]:
    """The column of masked images, if all runs removed the same patches of these images."""
    if not all('masked' in each.panel.columns for each in shown):
        return None
    columns = [each.panel.columns.index('masked') for each in shown]
    tiles = [[each.tile(key, column) for key in keys] for each, column in zip(shown, columns)]
    alike = all(np.array_equal(a, b) for others in tiles[1:] for a, b in zip(tiles[0], others))
    return columns[0] if alike else None


def _encode(image: Image.Image, most: int) -> Tuple[str, bytes]:
    """PNG where a picture is tiny (JPEG would blur patches of a few pixels), else the best JPEG that fits ``most``."""
    if max(image.size) <= 64:
        data = io.BytesIO()
        image.save(data, 'PNG')
        return 'png', data.getvalue()
    for quality, side in ((86, 224), (74, 224), (60, 160), (40, 112), (20, 80)):
        data, smaller = io.BytesIO(), image.copy()
        smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
        smaller.save(data, 'JPEG', quality=quality, subsampling=0)
        if data.tell() <= most:
            break
    return 'jpeg', data.getvalue()
