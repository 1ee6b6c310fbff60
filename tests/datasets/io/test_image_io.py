"""Every kind of file becomes the pixels that the table in image_io promises."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import UPRIGHT, exif_with, save, smooth
from PIL import Image

from mmmim.datasets.io.image_io import ImageReadError, ImageSource


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


def test_float_grey_has_the_range_0_to_1_whatever_the_image_holds(tmp_path):
    unit = np.array([[0, 0.5, 1]], np.float32)
    assert ImageSource(save(tmp_path / 'unit.tif', unit), 1).read().ravel().tolist() == [0, 128, 255]
    wide = save(tmp_path / 'wide.tif', np.array([[-5, 0.5, 1.02, 300, np.nan, np.inf, -np.inf]], np.float32))
    assert ImageSource(wide, 1).read().ravel().tolist() == [0, 128, 255, 255, 0, 255, 0]
    assert ImageSource(wide, 1, value_range=(-100, 155)).read().ravel().tolist() == [95, 100, 101, 255, 0, 255, 0]


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


@pytest.mark.parametrize(
    'name, mode, colour',
    [
        ('a.jpg', 'CMYK', (0, 255, 255, 0)),
        ('a.tif', 'CMYK', (0, 255, 255, 0)),
        ('b.tif', 'LAB', (136, 208, 195)),
        ('c.tif', 'YCbCr', (76, 85, 255)),
    ],
)
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
        ImageSource(np.zeros((4, 4, 5), np.uint8)).read()


@pytest.mark.parametrize('box', [(-1, 0, 4, 4), (0, 0, 11, 4), (0, 5, 4, 4), (0, 0, 0, 4)])
def test_a_box_outside_is_the_callers_error(box):
    with pytest.raises(ValueError, match='does not lie in the image of 10 x 8') as caught:
        ImageSource(np.zeros((8, 10, 3), np.uint8)).crop(box, (2, 2))
    assert not isinstance(caught.value, ImageReadError)


@pytest.mark.parametrize('limit, readable', [('5000', True), ('2000', False), ('many', False)])
def test_the_limit_of_pixels_and_its_remedy(tmp_path, monkeypatch, limit, readable):
    path = tmp_path / 'large.png'
    Image.new('RGB', (60, 60)).save(path)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(ImageReadError, match='more than 2,000 pixels.*MMMIM_MAX_PIXELS=1000000000'):
        ImageSource(str(path)).read()
    monkeypatch.setenv('MMMIM_MAX_PIXELS', limit)
    if readable:
        assert ImageSource(str(path)).read().shape == (60, 60, 3)
    else:
        with pytest.raises(ImageReadError, match='MMMIM_MAX_PIXELS='):
            ImageSource(str(path)).read()
