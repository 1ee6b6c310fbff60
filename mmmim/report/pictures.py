"""The report's pictures: the newest reconstructions, how they grew, and several runs side by side."""

import base64
import io
import os.path as osp
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from ..visualization.panel import Panel
from .charts import COLOURS
from .markup import Markup, el
from .run_data import RunData, number

MOST_EPOCHS = 5  # columns of the strip that shows how a reconstruction grew
PICTURE_BYTES = 1_700_000  # for all pictures of a page together; base64 adds a third
LEAK = "original patch's mean and variance"


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


def load_panels(run: RunData) -> List[Shown]:
    """The newest panel of a run and some earlier ones, oldest first; what cannot be read is noted."""
    found: Dict[int, Shown] = {}
    places = list(range(len(run.panels)))
    while places and not found:
        _load(run, places.pop(), found)
    kept = np.unique(np.linspace(0, len(places) - 1, min(len(places), MOST_EPOCHS - 1)).round().astype(int))
    for place in kept.tolist():
        _load(run, places[place], found)
    return [found[place] for place in sorted(found)]


def _load(run: RunData, place: int, found: Dict[int, Shown]) -> None:
    stem, path = run.panels[place]
    try:
        panel = Panel.load(path)
    except (OSError, ValueError):
        run.notes.append(f'reconstructions/{osp.basename(path)}: it is no panel of pictures, or not whole')
        return
    epoch = number(panel.notes.get('epoch'))
    images = panel.notes.get('images')
    named = isinstance(images, list) and len(images) == len(panel.tiles) and all(images)
    keys = [str(key) for key in (images if named else panel.row_names)]
    if len(set(keys)) < len(keys):
        keys = [f'row {i}' for i in range(len(keys))]
    found[place] = Shown(f'epoch {stem if epoch is None else epoch:g}', panel, keys)


def pictures(runs: Sequence[RunData]) -> List[Markup]:
    """The section's content."""
    room = Room.for_runs(len(runs))
    shown = [(run, load_panels(run)) for run in runs]
    having = [(run, panels) for run, panels in shown if panels]
    parts: List[Markup] = []
    common = (
        [key for key in having[0][1][-1].keys if all(key in panels[-1].keys for _, panels in having)] if having else []
    )
    parts.append(_leak_note([(run, panels[-1]) for run, panels in having]))
    if len(having) > 1 and common:
        parts += _side_by_side([(run, panels[-1]) for run, panels in having], common[: room.strip_rows], room)
    for run, panels in having:
        newest = panels[-1]
        swatch = el('span', class_=f'swatch s{runs.index(run) % COLOURS}')
        heading = newest.epoch if len(runs) == 1 else [swatch, f'{run.name}, {newest.epoch}']
        parts += [el('h3', heading), _sheets(newest, common, room)]
        parts += _strip(panels, common, room)
    return [part for part in parts if part]


def _sheets(shown: Shown, first: Sequence[str], room: Room) -> Markup:
    """All columns of the newest panel, in one or two stacks of rows that share the width of the page."""
    panel = shown.panel
    rows = _order(shown, first)[: room.rows]
    wide = len(panel.columns) > 4 or len(rows) < 4
    halves = [rows] if wide else [rows[: (len(rows) + 1) // 2], rows[(len(rows) + 1) // 2 :]]
    titles = [shown.title(i) for i in range(len(panel.columns))]
    return el(
        'div',
        [
            grid(
                titles,
                [
                    (
                        [(panel.tiles[row][i], f'{title}: {panel.row_names[row]}') for i, title in enumerate(titles)],
                        panel.row_names[row],
                    )
                    for row in half
                ],
                room,
            )
            for half in halves
        ],
        class_='sheets',
    )


def _strip(panels: Sequence[Shown], first: Sequence[str], room: Room) -> List[Markup]:
    """The same images reconstructed epoch by epoch."""
    newest = panels[-1]
    keys = [newest.keys[row] for row in _order(newest, first)[: room.strip_rows]]
    panels = [p for p in panels if p.reconstruction is not None and set(keys) <= set(p.keys)]
    if len(panels) < 2:
        return []
    rows = []
    for key in keys:
        tiles = [(newest.panel.tiles[newest.keys.index(key)][0], f'{newest.title(0)}: {key}')]
        tiles += [(_reconstruction(p, key), f'reconstruction, {p.epoch}: {key}') for p in panels]
        rows.append((tiles, ''))
    return [
        el('h4', f'{panels[-1].title(panels[-1].reconstruction)}, epoch by epoch'),
        el(
            'div',
            grid([newest.title(0), *(p.epoch for p in panels)], rows, room),
            class_='scroll',
            tabindex=0,
            role='region',
            aria_label='reconstructions epoch by epoch',
        ),
    ]


def _side_by_side(runs: Sequence[Tuple[RunData, Shown]], keys: Sequence[str], room: Room) -> List[Markup]:
    """The same images as each run reconstructs them."""
    runs = [(run, shown) for run, shown in runs if shown.reconstruction is not None]
    if len(runs) < 2:
        return []
    first = runs[0][1]
    masked = _common_masks([shown for _, shown in runs], keys)
    leading = [0] if masked is None else [0, masked]
    rows = []
    for key in keys:
        tiles = [(first.panel.tiles[first.keys.index(key)][i], f'{first.title(i)}: {key}') for i in leading]
        tiles += [
            (_reconstruction(shown, key), f'{run.name}, {shown.epoch}, reconstruction: {key}') for run, shown in runs
        ]
        rows.append((tiles, ''))
    titles = [first.title(i) for i in leading]
    titles += [f'{run.name} ({shown.epoch}{f"; {LEAK}" if shown.leaks else ""})' for run, shown in runs]
    masks = '' if masked is not None else ', each under its own mask'
    return [
        el('h3', f'The same images, reconstructed by each run{masks}'),
        el(
            'div',
            grid(titles, rows, room),
            class_='scroll',
            tabindex=0,
            role='region',
            aria_label='reconstructions of all runs',
        ),
    ]


def _common_masks(shown: Sequence[Shown], keys: Sequence[str]) -> Optional[int]:
    """The column of masked images, if all runs removed the same patches of these images."""
    if not all('masked' in each.panel.columns for each in shown):
        return None
    columns = [each.panel.columns.index('masked') for each in shown]
    tiles = [[each.panel.tiles[each.keys.index(key)][column] for key in keys] for each, column in zip(shown, columns)]
    alike = all(np.array_equal(a, b) for others in tiles[1:] for a, b in zip(tiles[0], others))
    return columns[0] if alike else None


def _leak_note(having: Sequence[Tuple[RunData, Shown]]) -> Optional[Markup]:
    names = [run.name for run, shown in having if shown.leaks]
    if not names:
        return None
    whose = '' if len(names) == len(having) else f' of {", ".join(names)}'
    return el(
        'p',
        f'Removed patches{whose} are painted with the {LEAK}, which the model was not shown: colour and '
        'contrast tell less about it than shapes and edges.',
        class_='note',
    )


def _order(shown: Shown, first: Sequence[str]) -> List[int]:
    """Rows, those of ``first`` before others."""
    return sorted(range(len(shown.keys)), key=lambda row: (shown.keys[row] not in first, row))


def _reconstruction(shown: Shown, key: str) -> np.ndarray:
    return shown.panel.tiles[shown.keys.index(key)][shown.reconstruction]


def grid(titles: Sequence[str], rows: Sequence[Tuple[list, str]], room: Room) -> Markup:
    """Pictures in columns under titles: a row is its ``(tile, alternative text)`` pairs and its name."""
    head = el('div', [_title(title) for title in titles], class_='row head')
    body = [
        el(
            'figure',
            [_image(tile, alt, room) for tile, alt in tiles],
            el('figcaption', name) if name else None,
            class_='row',
        )
        for tiles, name in rows
    ]
    return el('div', head, body, class_='sheet', style=f'--columns:{len(titles)}')


def _title(title: str) -> Markup:
    """What stands in brackets is smaller."""
    main, bracket, rest = title.partition(' (')
    return el('span', main, el('small', f'({rest}') if bracket else None)


def _image(tile: np.ndarray, alt: str, room: Room) -> Markup:
    """A picture inside the page."""
    image = Image.fromarray(np.ascontiguousarray(tile))
    image.thumbnail((room.side, room.side), Image.Resampling.LANCZOS)
    kind, data = _encode(image, room.tile_bytes)
    return el(
        'img',
        src=f'data:image/{kind};base64,{base64.b64encode(data).decode()}',
        alt=alt,
        title=alt,
        width=image.width,
        height=image.height,
        class_='tiny' if kind == 'png' else None,
    )


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
