"""TIFFs of many bands, and arrays whose channels come first."""

import sys

import numpy as np
import pytest
from image_files import UPRIGHT, save
from PIL import Image

from mmmim.datasets.io.image_io import ImageReadError, ImageSource

tifffile = pytest.importorskip('tifffile')
RNG = np.random.default_rng(0)


def bands(count, dtype=np.uint8, high=256):
    values = RNG.random((20, 24, count)) * high
    return values.astype(dtype)


@pytest.mark.parametrize('planar', ['contig', 'separate'])
@pytest.mark.parametrize('count', [2, 4, 5, 13])
@pytest.mark.parametrize('dtype, high', [(np.uint8, 256), (np.uint16, 10000), (np.int16, 10000), (np.float32, 10000)])
def test_many_bands_in_one_page(tmp_path, planar, count, dtype, high):
    stored = bands(count, dtype, high)
    path = tmp_path / 'a.tif'
    tifffile.imwrite(
        path,
        stored if planar == 'contig' else stored.transpose(2, 0, 1),
        photometric='minisblack',
        planarconfig=planar,
    )
    source = ImageSource(path, count, None if dtype == np.uint8 else (0, 10000))
    expected = stored if dtype == np.uint8 else np.rint(stored.astype(np.float32) * np.float32(255) / 10000)
    assert source.size == (24, 20) and source.header.bands == count and source.header.dtype == dtype
    assert np.array_equal(source.read(), expected.astype(np.uint8))
    assert np.array_equal(source.values(), stored)
    assert np.array_equal(source.crop((3, 2, 10, 8), (8, 10)), expected[2:10, 3:13])


@pytest.mark.parametrize('compression', ['deflate', 'lzw', 'packbits', 'zstd', 'jpeg'])
def test_compressions(tmp_path, compression):
    pytest.importorskip('imagecodecs')
    smooth = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 5))
    options = dict(planarconfig='separate') if compression == 'jpeg' else dict(planarconfig='contig')
    values = smooth.transpose(2, 0, 1) if compression == 'jpeg' else smooth
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='minisblack', compression=compression, **options)
    read = ImageSource(tmp_path / 'a.tif', 5).read().astype(int)
    assert np.abs(read - smooth).max() <= (4 if compression == 'jpeg' else 0)


def test_red_green_blue_and_near_infrared(tmp_path):
    """A fourth band that is not said to be opacity is none: Pillow would make it opaque."""
    stored = bands(4)
    tifffile.imwrite(tmp_path / 'a.tif', stored, photometric='rgb', extrasamples=['unspecified'])
    assert np.array_equal(ImageSource(tmp_path / 'a.tif', 4).read(), stored)
    assert np.array_equal(ImageSource(tmp_path / 'a.tif', 3).read(), stored[..., :3])
    deep = bands(4, np.uint16, 4096)
    tifffile.imwrite(tmp_path / 'd.tif', deep, photometric='rgb', extrasamples=['unspecified'])
    read = ImageSource(tmp_path / 'd.tif', 3, (0, 4095)).read()
    assert np.array_equal(read, np.rint(deep[..., :3] * 255.0 / 4095))


def test_opacity_of_a_tiff(tmp_path):
    stored = bands(4)
    stored[..., 3] = 255
    path = save(tmp_path / 'a.tif', Image.fromarray(stored, 'RGBA'))
    assert ImageSource(path, 3).header.bands == 3
    assert np.array_equal(ImageSource(path, 3).read(), stored[..., :3])


@pytest.mark.parametrize('count', [2, 3, 5])
def test_pages_are_channels_when_as_many_are_asked_for(tmp_path, count):
    pages = bands(count, np.uint16, 4096).transpose(2, 0, 1)
    for page_type in (np.uint16, np.float64):  # Pillow has no mode for the latter
        tifffile.imwrite(tmp_path / 'a.tif', pages.astype(page_type), photometric='minisblack')
        source = ImageSource(tmp_path / 'a.tif', count, (0, 4095))
        assert source.header.bands == 1 and source.header.pages == count
        assert np.array_equal(source.read(), np.rint(pages.transpose(1, 2, 0) * 255.0 / 4095))
        assert np.array_equal(source.values(), pages.transpose(1, 2, 0))
    each = tuple((0, high) for high in range(1000, 1000 + count))
    read = ImageSource(tmp_path / 'a.tif', count, each).read()
    assert np.array_equal(read[..., 1], np.rint(np.clip(pages[1] * 255.0 / 1001, 0, 255)))


@pytest.mark.parametrize('options', [{}, dict(bigtiff=True), dict(byteorder='>')])
def test_pages_of_other_sizes_are_no_channels(tmp_path, options):
    path = tmp_path / 'a.tif'
    with tifffile.TiffWriter(path, **options) as tiff:
        for side in (20, 20, 8):  # the last one is a thumbnail
            tiff.write(np.full((side, side), side * 1000, np.uint16), photometric='minisblack', contiguous=False)
    for channels in (1, 3):
        source = ImageSource(path, channels)
        assert source.header.bands == source.header.pages == 1
        assert source.values().shape == (20, 20, 1) and (source.read() == 78).all()


def test_the_limit_of_pixels_is_raised_for_tiffs_too(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / 'a.tif', bands(1)[..., 0])  # 480 pixels
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(ImageReadError, match='has more than 200 pixels'):
        ImageSource(tmp_path / 'a.tif', 1).read()
    monkeypatch.setenv('MMMIM_MAX_PIXELS', '1000')
    assert ImageSource(tmp_path / 'a.tif', 1).read().shape == (20, 24, 1)


@pytest.mark.parametrize('orientation', [3, 6])
def test_orientation_of_bands(tmp_path, orientation):
    stored = bands(5)
    tifffile.imwrite(
        tmp_path / 'a.tif', stored, photometric='minisblack', planarconfig='contig',
        extratags=[(274, 'H', 1, orientation, True)],
    )  # fmt: skip
    source = ImageSource(tmp_path / 'a.tif', 5)
    expected = UPRIGHT[orientation](stored)
    assert source.size == expected.shape[1::-1]
    assert np.array_equal(source.read(), expected)


def test_other_numbers_of_bands_are_named(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', bands(13), photometric='minisblack', planarconfig='contig')
    with pytest.raises(ImageReadError, match=r'has 13 channel\(s\), but 5 channels were asked for'):
        ImageSource(tmp_path / 'a.tif', 5).read()
    with pytest.raises(ImageReadError, match=r'has 13 channel\(s\), but 3 channels were asked for'):
        ImageSource(tmp_path / 'a.tif', 3).read()


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / 'a.tif', bands(13, np.uint16, 9), photometric='minisblack', planarconfig='contig')
    colour = bands(3, np.uint16, 4096)
    tifffile.imwrite(tmp_path / 'c.tif', colour, photometric='rgb')
    expected = ImageSource(tmp_path / 'c.tif', 3, (0, 4095)).read()
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    with pytest.raises(ImageReadError, match=r'13 channels of uint16 is read by tifffile, .*pip install tifffile'):
        ImageSource(tmp_path / 'a.tif', 13).read()
    assert np.array_equal(ImageSource(tmp_path / 'c.tif', 3, (0, 4095)).read(), expected)  # by OpenCV


def test_a_compression_without_its_codec_is_said(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / 'a.tif', bands(13), photometric='minisblack', planarconfig='contig')

    def refuse(page, *args, **kwargs):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, 'asarray', refuse)
    with pytest.raises(
        ImageReadError, match=r'compression needs imagecodecs .*LZW.*: pip install tifffile imagecodecs'
    ):
        ImageSource(tmp_path / 'a.tif', 13).read()


def test_damaged_bands(tmp_path):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, bands(13), photometric='minisblack', planarconfig='contig')
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ImageReadError, match=r'a\.tif'):
        ImageSource(path, 13).read()


def test_arrays_with_the_channels_first(tmp_path):
    stored = bands(5)
    np.save(tmp_path / 'a.npy', stored.transpose(2, 0, 1))
    source = ImageSource(tmp_path / 'a.npy', 5)
    assert source.size == (24, 20) and np.array_equal(source.read(), stored)
    assert ImageSource(tmp_path / 'a.npy').header.bands == 5  # before it is known how many there are
    np.save(tmp_path / 'b.npy', bands(3).astype(np.float32) / 255)
    assert ImageSource(tmp_path / 'b.npy').read().shape == (20, 24, 3)


def test_headers_name_what_is_in_a_file(tmp_path):
    for name, image, expected in (
        ('g.png', Image.new('L', (4, 4)), 1),
        ('la.png', Image.new('LA', (4, 4)), 1),
        ('p.png', Image.new('P', (4, 4)), 3),
        ('rgba.png', Image.new('RGBA', (4, 4)), 3),
        ('c.tif', Image.new('CMYK', (4, 4)), 3),
        ('i.png', Image.fromarray(np.zeros((4, 4), np.uint16)), 1),
    ):
        assert ImageSource(save(tmp_path / name, image)).header.bands == expected, name
