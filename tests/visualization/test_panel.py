"""A table of pictures in one PNG: it comes back as it was, and is legible."""

import json

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mmmim.visualization.panel import TEXT_KEY, Panel


def _tiles(rows, columns, height=96, width=96):
    rng = np.random.default_rng(0)
    return [[rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(columns)] for _ in range(rows)]


def _panel(**changes):
    return Panel(
        **{
            **dict(
                tiles=_tiles(2, 3),
                columns=['original', 'masked', 'a "title" with ünïcode\nand a line'],
                row_names=['first', ''],
                notes=dict(epoch=10, nested=dict(a=[1, None, 0.5])),
            ),
            **changes,
        }
    )


@pytest.mark.parametrize('side', [(32, 32), (96, 96), (96, 48), (224, 224), (1, 1), (400, 300)])
def test_what_was_saved_comes_back_exactly(side, tmp_path):
    panel = _panel(tiles=_tiles(2, 3, *side))
    panel.save(tmp_path / 'new/folder/panel.png')
    again = Panel.load(tmp_path / 'new/folder/panel.png')
    assert (again.columns, again.row_names, again.notes) == (panel.columns, panel.row_names, panel.notes)
    for mine, theirs in zip(panel.tiles, again.tiles, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_tiles_of_different_sizes(tmp_path):
    panel = Panel([[_tiles(1, 1, 20, 30)[0][0], _tiles(1, 1, 40, 10)[0][0]], _tiles(1, 2, 8, 50)[0]], ['a', 'b'])
    panel.save(tmp_path / 'panel.png')
    shapes = [[tile.shape[:2] for tile in row] for row in Panel.load(tmp_path / 'panel.png').tiles]
    assert shapes == [[(20, 30), (40, 10)], [(8, 50), (8, 50)]]


def _ink(image, top, bottom):
    """Dark pixels between two lines."""
    return int((np.asarray(image)[top:bottom].max(axis=2) < 120).sum())


def test_titles_names_and_caption_are_drawn():
    white = [[np.full((96, 96, 3), 255, np.uint8)] * 2] * 2
    bare = Panel(white, ['', '']).draw()
    assert _ink(bare, 0, bare.height) == 0
    titled = Panel(white, ['original', 'masked']).draw()
    assert titled.size == bare.size and _ink(titled, 0, 40) > 100
    named = Panel(white, ['', ''], ['cat/1.jpg', 'dog/2.jpg']).draw()
    assert named.height > bare.height and _ink(named, 0, named.height) > 100
    captioned = Panel(white, ['', ''], notes=dict(caption='epoch 3')).draw()
    assert captioned.height > bare.height and _ink(captioned, captioned.height - 30, captioned.height) > 20


def test_small_tiles_are_enlarged_and_long_titles_wrapped():
    title = "reconstruction (original patch's mean and variance)"
    small, large = (Panel(_tiles(1, 3, side, side), [title] * 3).draw() for side in (32, 192))
    assert small.size == large.size
    pixels = np.asarray(small)
    assert (pixels[:, 12 + 192 : 12 + 192 + 6] == 255).all()  # no title runs into the gap between two columns


def test_a_long_name_keeps_its_end():
    name = '/a/very/long/path' * 30 + '/the_file.jpg'
    long, short = (Panel(_tiles(1, 1), ['x'], [text]).draw() for text in (name, 'x'))
    assert long.size == short.size


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(columns=['a', 'b']), '2 columns'),
        (dict(row_names=['a']), '1 row names'),
        (dict(tiles=[]), 'at least one'),
        (dict(tiles=[[np.zeros((4, 4, 3))] * 3] * 2), 'float64'),
        (dict(tiles=[[np.zeros((4, 4), np.uint8)] * 3] * 2), r'\[4, 4\]'),
    ],
)
def test_what_is_no_table_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        _panel(**changes)


def _png(path, text=None):
    info = PngImagePlugin.PngInfo()
    if text is not None:
        info.add_text(TEXT_KEY, text)
    Image.new('RGB', (30, 30)).save(path, pnginfo=info)


@pytest.mark.parametrize('kind', ['plain', 'no json', 'incomplete', 'outside', 'jpeg', 'cut', 'empty'])
def test_other_files_are_refused(kind, tmp_path):
    path = tmp_path / 'picture.png'
    texts = {
        'plain': None,
        'no json': '{',
        'incomplete': '{"scale": 1}',
        'outside': json.dumps(dict(scale=1, boxes=[[[100, 100, 5, 5]]], columns=['a'], row_names=[''], notes={})),
    }
    if kind in texts:
        _png(path, texts[kind])
    elif kind == 'jpeg':
        Image.new('RGB', (30, 30)).save(path, format='JPEG')
    else:
        _panel().save(path)
        path.write_bytes(path.read_bytes()[: 3000 if kind == 'cut' else 0])
    with pytest.raises(ValueError, match='picture.png is not a panel'):
        Panel.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Panel.load(tmp_path / 'nothing.png')
