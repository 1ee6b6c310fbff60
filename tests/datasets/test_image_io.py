"""Every kind of file becomes the pixels that the table in image_io promises."""
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmmim.datasets import image_io
from mmmim.datasets.image_io import ImageReadError, ImageSource
from mmmim.datasets.jpeg import decode_jpeg, resize_box

DATA = Path(os.environ.get('MMMIM_DATA', Path(__file__).parents[3] / 'shared/data'))


def save(path, image, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path, **options)
    return str(path)


def smooth(height, width):
    """A colour picture without sharp edges, [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    waves = [127 + 100 * np.sin(x / 23 + y / 31 + phase) for phase in (0, 2, 4)]
    return np.stack(waves, axis=2).astype(np.uint8)


def exif_with(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# What each orientation does to the pixels that are stored, [H, W, C], written down independently of Pillow.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize('orientation', UPRIGHT)
@pytest.mark.parametrize('suffix', ['png', 'tif', 'webp'])
def test_orientation_is_applied(tmp_path, orientation, suffix):
    stored = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    options = dict(lossless=True) if suffix == 'webp' else {}
    source = ImageSource(save(tmp_path / f'a.{suffix}', stored, exif=exif_with(orientation), **options))
    expected = UPRIGHT[orientation](stored)
    assert source.size == expected.shape[1::-1]
    assert np.array_equal(source.read(), expected)
    assert np.array_equal(source.crop((1, 2, 4, 3), (3, 4)), expected[2:5, 1:5])


def test_orientation_6_puts_the_lower_left_corner_up(tmp_path):
    stored = np.full((32, 48, 3), 128, np.uint8)
    stored[16:, :16] = (255, 0, 0)  # lower left as stored; upright after a quarter turn clockwise: upper left
    image = ImageSource(save(tmp_path / 'a.jpg', stored, exif=exif_with(6), quality=95, subsampling=0)).read()
    assert image.shape == (48, 32, 3)
    assert np.abs(image[4, 4].astype(int) - (255, 0, 0)).max() < 8
    assert np.abs(image[40, 4].astype(int) - 128).max() < 8


@pytest.mark.parametrize('orientation', UPRIGHT)
def test_resized_crop_of_a_turned_jpeg(tmp_path, orientation):
    stored = smooth(240, 320)
    turned = ImageSource(save(tmp_path / 'a.jpg', stored, exif=exif_with(orientation), quality=95))
    upright = ImageSource(np.ascontiguousarray(UPRIGHT[orientation](stored)))
    box = (30.5, 50.25, 150, 120.5)
    difference = turned.crop(box, (28, 36)).astype(int) - upright.crop(box, (28, 36))
    assert np.abs(difference).mean() < 2


def test_orientation_of_a_png_behind_its_pixels(tmp_path):
    stored = np.arange(24, dtype=np.uint8).reshape(4, 6)
    path = save(tmp_path / 'a.png', stored)
    content = Path(path).read_bytes()
    exif = exif_with(6).tobytes()[6:]  # without 'Exif\0\0'
    chunk = struct.pack('>I', len(exif)) + b'eXIf' + exif + struct.pack('>I', zlib.crc32(b'eXIf' + exif))
    Path(path).write_bytes(content[:-12] + chunk + content[-12:])  # before IEND
    source = ImageSource(path, channels=1)
    assert source.size == (4, 6)
    assert np.array_equal(source.read()[:, :, 0], np.rot90(stored, -1))


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    k = np.arange(256, dtype=np.uint16).reshape(16, 16)
    for suffix in ('png', 'tif'):
        path = save(tmp_path / f'a.{suffix}', k * 257)
        assert np.array_equal(ImageSource(path, channels=1).read()[:, :, 0], k)
        assert np.array_equal(ImageSource(path).read(), np.repeat(k[:, :, None], 3, axis=2))
    between = save(tmp_path / 'between.png', np.array([[128, 129, 257 + 128, 257 + 129, 65535]], np.uint16))
    assert ImageSource(between, channels=1).read().ravel().tolist() == [0, 1, 1, 2, 255]  # rounded
    big_endian = Image.frombytes('I;16B', (16, 16), (k * 257).astype('>u2').tobytes())
    integers = Image.fromarray((k * 257).astype(np.int32))  # mode I
    for name, image in (('b.tif', big_endian), ('i.tif', integers)):
        assert np.array_equal(ImageSource(save(tmp_path / name, image), channels=1).read()[:, :, 0], k)


def test_float_grey(tmp_path):
    unit = np.array([[0, 0.5, 1]], np.float32)
    assert ImageSource(save(tmp_path / 'unit.tif', unit), 1).read().ravel().tolist() == [0, 128, 255]
    wide = np.array([[-5, 100.2, 300, np.nan]], np.float32)
    assert ImageSource(save(tmp_path / 'wide.tif', wide), 1).read().ravel().tolist() == [0, 100, 255, 0]


def test_alpha_is_laid_over_white(tmp_path):
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    path = save(tmp_path / 'a.png', rgba)
    assert ImageSource(path).read().tolist() == [[[255, 0, 0], [255, 255, 255], [127, 127, 127]]]
    assert ImageSource(path, 1).read().ravel().tolist() == [76, 255, 127]
    assert np.array_equal(ImageSource(path, 4).read(), rgba)
    grey_alpha = save(tmp_path / 'la.png', np.array([[[10, 255], [10, 0]]], np.uint8))
    assert ImageSource(grey_alpha, 1).read().ravel().tolist() == [10, 255]


def test_transparent_palette_and_key_colour(tmp_path):
    palette = Image.new('P', (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    path = save(tmp_path / 'p.png', palette, transparency=1)
    assert ImageSource(path).read().tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert ImageSource(path, 4).read()[0, :, 3].tolist() == [255, 0]
    key = save(tmp_path / 'k.png', np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8), transparency=(4, 5, 6))
    assert ImageSource(key).read().tolist() == [[[1, 2, 3], [255, 255, 255]]]
    grey_key = save(tmp_path / 'g.png', np.array([[7, 9]], np.uint8), transparency=9)
    assert ImageSource(grey_key, 1).read().ravel().tolist() == [7, 255]


@pytest.mark.parametrize('name, mode, colour', [
    ('a.jpg', 'CMYK', (0, 255, 255, 0)), ('a.tif', 'CMYK', (0, 255, 255, 0)), ('b.tif', 'LAB', (136, 208, 195)),
    ('c.tif', 'YCbCr', (76, 85, 255))])
def test_other_colour_spaces_show_red(tmp_path, name, mode, colour):
    path = save(tmp_path / name, Image.new(mode, (16, 16), colour))
    assert Image.open(path).mode == mode
    assert np.abs(ImageSource(path).read().astype(int) - (255, 0, 0)).max() < 12
    assert abs(int(ImageSource(path, 1).read()[8, 8, 0]) - 76) < 8
    assert ImageSource(path, 4).read()[8, 8, 3] == 255


def test_one_bit_and_palette_and_grey(tmp_path):
    bits = Image.new('1', (2, 1))
    bits.putpixel((1, 0), 1)
    assert ImageSource(save(tmp_path / 'a.png', bits)).read().tolist() == [[[0, 0, 0], [255, 255, 255]]]
    grey = save(tmp_path / 'g.png', np.array([[3, 200]], np.uint8))
    assert ImageSource(grey).read().tolist() == [[[3] * 3, [200] * 3]]
    assert ImageSource(grey, 4).read().tolist() == [[[3] * 3 + [255], [200] * 3 + [255]]]


@pytest.mark.parametrize('suffix', ['gif', 'webp', 'png', 'tif'])
def test_first_frame_of_several(tmp_path, suffix):
    frames = [Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue')]
    options = dict(lossless=True) if suffix == 'webp' else {}
    path = save(tmp_path / f'a.{suffix}', frames[0], save_all=True, append_images=frames[1:], **options)
    assert Image.open(path).n_frames == 2
    assert (ImageSource(path).read() == (255, 0, 0)).all()


def test_photo_with_a_second_picture_in_it(tmp_path):
    frames = [Image.new('RGB', (64, 64), colour) for colour in ('red', 'blue')]
    path = save(tmp_path / 'a.jpg', frames[0], format='MPO', save_all=True, append_images=frames[1:])
    assert Image.open(path).format == 'MPO'
    assert np.abs(ImageSource(path).crop((0, 0, 64, 64), (8, 8)).astype(int) - (255, 0, 0)).max() < 5


def test_tiff_pages_are_channels(tmp_path):
    pages = np.random.default_rng(0).integers(0, 256, (5, 4, 6), dtype=np.uint8)
    images = [Image.fromarray(page) for page in pages]
    path = save(tmp_path / 'a.tif', images[0], save_all=True, append_images=images[1:])
    assert np.array_equal(ImageSource(path, 5).read(), pages.transpose(1, 2, 0))
    with pytest.raises(ImageReadError, match=r'has 5 page\(s\) of 1 channel\(s\), but 6 channels were asked'):
        ImageSource(path, 6).read()


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 7])
def test_npy(tmp_path, channels):
    array = np.random.default_rng(0).integers(0, 256, (40, 50, channels), dtype=np.uint8)
    np.save(tmp_path / 'a.npy', array)
    np.save(tmp_path / 'b.npy', array.astype(np.uint16) * 257)
    for name in ('a.npy', 'b.npy'):
        source = ImageSource(tmp_path / name, channels)
        assert source.size == (50, 40)
        assert np.array_equal(source.read(), array)
        assert np.array_equal(source.crop((5, 10, 20, 16), (16, 20)), array[10:26, 5:25])
    # a region is read, not the whole: the same pixels as resizing in the whole plane
    part = ImageSource(tmp_path / 'a.npy', channels).crop((10.5, 12, 20, 16), (6, 5))
    whole = Image.fromarray(array[:, :, 0]).resize((5, 6), Image.Resampling.BICUBIC, (10.5, 12, 30.5, 28))
    assert np.abs(part[:, :, 0].astype(int) - np.asarray(whole)).max() <= 1
    with pytest.raises(ImageReadError, match=f'has {channels} channels, but 9'):
        ImageSource(tmp_path / 'a.npy', 9).read()


def test_array_in_memory_is_converted():
    red = np.full((4, 4, 3), (255, 0, 0), np.uint8)
    assert np.array_equal(ImageSource(red).read(), red)
    assert (ImageSource(red, 1).read() == 76).all()
    assert ImageSource(red, 4).read()[0, 0].tolist() == [255, 0, 0, 255]
    assert ImageSource(red[:, :, :1], 3).read()[0, 0].tolist() == [255, 255, 255]
    with pytest.raises(ImageReadError, match='has 5 channels, but 3'):
        ImageSource(np.zeros((4, 4, 5), np.uint8)).size


@pytest.fixture(params=['simplejpeg', 'pillow'])
def decoded(request, monkeypatch):
    """Sizes at which JPEGs were decoded, by the fast way or, where it gives up, by Pillow."""
    sizes, decode, to_planes = [], image_io.decode_jpeg, image_io.to_planes

    def fast(*args):
        pixels = decode(*args)
        sizes.append(pixels.shape[1::-1])
        return pixels

    def by_pillow(*args):
        planes = to_planes(*args)
        sizes.append(planes[0].size)
        return planes

    monkeypatch.setattr(image_io, 'decode_jpeg', fast if request.param == 'simplejpeg' else lambda *args: None)
    monkeypatch.setattr(image_io, 'to_planes', by_pillow)
    return sizes


def test_jpeg_is_decoded_at_the_scale_that_suffices(tmp_path, decoded):
    path = save(tmp_path / 'a.jpg', smooth(803, 1201), quality=95)
    source = ImageSource(path)
    with Image.open(path) as image:
        whole = image.convert('RGB')
    for shrink, left in ((8, 101.5), (4, 104), (2, 101), (1, 101.5)):
        box = (left, 50, 64 * shrink, 64 * shrink)
        expected = whole.resize((64, 64), Image.Resampling.BICUBIC, (left, 50, left + box[2], 50 + box[3]))
        difference = np.abs(source.crop(box, (64, 64)).astype(int) - np.asarray(expected))
        assert difference.mean() < 1.5 and (difference.max() > 0 or shrink == 1), shrink
    assert decoded == [(151, 101), (301, 201), (601, 402), (1201, 803)]
    ImageSource(path).crop((0, 0, 100, 512), (64, 64))  # the tighter direction decides
    ImageSource(path).crop((0, 0, 127, 127), (64, 64))
    assert decoded[-2:] == [(1201, 803), (1201, 803)]


def test_each_scale_is_decoded_once_and_what_is_done_to_a_crop_stays_there(tmp_path, decoded):
    """Crops of one image one after the other, each written into, as augmentation may do."""
    path = save(tmp_path / 'a.jpg', smooth(80, 120), quality=95)
    source = ImageSource(path)
    for box, size in 2 * [((0, 0, 120, 80), (80, 120)), ((8, 8, 64, 64), (32, 32)), ((0, 0, 64, 64), (64, 64))]:
        crop = source.crop(box, size)
        assert np.array_equal(crop, ImageSource(path).crop(box, size))
        crop[:] = 0
    assert len(decoded) == 2 + 6


@pytest.mark.parametrize('orientation', UPRIGHT)
def test_orientation_of_a_jpeg_is_applied(tmp_path, decoded, orientation):
    path = save(tmp_path / 'a.jpg', smooth(121, 201), quality=95, exif=exif_with(orientation))
    with Image.open(path) as image:
        upright = UPRIGHT[orientation](np.asarray(image.convert('RGB')))
    source = ImageSource(path)
    assert source.size == upright.shape[1::-1]
    assert np.array_equal(source.crop((20, 10, 64, 48), (48, 64)), upright[10:58, 20:84])
    half = np.asarray(Image.fromarray(upright[10:58, 20:84]).resize((32, 24), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(source.crop((20, 10, 64, 48), (24, 32)) - half).mean() < 2 and decoded == [(201, 121), (101, 61)]


@pytest.mark.parametrize('shrink', [1, 2, 4, 8])
@pytest.mark.parametrize('mode, channels', [('RGB', 3), ('RGB', 1), ('L', 3), ('L', 1)])
def test_fast_decoding_is_pillows(tmp_path, mode, channels, shrink):
    path = save(tmp_path / 'a.jpg', Image.fromarray(smooth(203, 301)).convert(mode), quality=90)
    with Image.open(path) as image:
        image.draft('L' if channels == 1 else None, (301 // shrink, 203 // shrink))
        expected = np.asarray(image.convert('RGB' if channels == 3 else 'L'))
    assert np.array_equal(decode_jpeg(Path(path).read_bytes(), shrink, channels).squeeze(), expected)


def test_what_the_fast_way_does_not_know_is_left_to_pillow(tmp_path):
    path = save(tmp_path / 'a.jpg', Image.fromarray(smooth(20, 30)).convert('CMYK'))
    assert decode_jpeg(Path(path).read_bytes(), 1, 3) is None and ImageSource(path).read().shape == (20, 30, 3)
    content = Path(save(tmp_path / 'b.jpg', smooth(203, 301))).read_bytes()
    assert decode_jpeg(content[:len(content) // 2], 1, 3) is None and decode_jpeg(b'no image', 1, 3) is None
    assert decode_jpeg(content, 1, 4) is None
    pixels = smooth(20, 30)
    assert resize_box(pixels, (0.5, 0, 10, 10), (5, 5), 'bicubic') is None
    assert resize_box(pixels, (0, 0, 10, 10), (5, 5), 'lanczos') is None


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('channels', [1, 3])
def test_fast_resizing_is_pillows_of_the_part(channels, interpolation):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)[:, :, :channels]
    for (x0, y0, x1, y1), size in (((10, 5, 110, 85), (32, 48)), ((3, 2, 40, 30), (64, 64)),
                                   ((0, 0, 64, 32), (32, 64))):
        part = np.ascontiguousarray(pixels[y0:y1, x0:x1]).squeeze()
        expected = np.asarray(Image.fromarray(part).resize(size[::-1], image_io.INTERPOLATIONS[interpolation]))
        found = resize_box(pixels, (x0, y0, x1, y1), size, interpolation)
        assert found.shape == (*size, channels) and np.abs(found.squeeze().astype(int) - expected).max() <= 1


@pytest.mark.parametrize('box', [(-1, 0, 4, 4), (0, 0, 11, 4), (0, 5, 4, 4), (0, 0, 0, 4)])
def test_a_box_outside_is_the_callers_error(box):
    with pytest.raises(ValueError, match='does not lie in the image of 10 x 8') as caught:
        ImageSource(np.zeros((8, 10, 3), np.uint8)).crop(box, (2, 2))
    assert not isinstance(caught.value, ImageReadError)


def test_crop_of_a_photograph_equals_pillow():
    photos = sorted((DATA / 'clothing').glob('val/*/*.jpg'))[:5]
    if not photos:
        pytest.skip(f'needs the photographs of clothing/ under {DATA} (MMMIM_DATA)')
    for photo in photos:
        with Image.open(photo) as image:
            image = image.convert('RGB')
        full = np.asarray(image.crop((10, 20, 130, 140)).resize((96, 96), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(ImageSource(photo).crop((10, 20, 120, 120), (96, 96)) - full).max() <= 1  # nothing to save
        small = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC, (0, 0, 160, 160))).astype(int)
        drafted = ImageSource(photo).crop((0, 0, 160, 160), (32, 32))  # decoded at 1/4
        error = np.abs(drafted - small).mean()
        assert 0 < error < min(6, 0.6 * np.abs(drafted[:, 1:] - small[:, :-1]).mean())
