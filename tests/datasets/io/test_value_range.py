"""One scale for a data set: what is stored becomes the same brightness in every image."""

import cv2
import numpy as np
import pytest
from image_files import save
from PIL import Image

from mmmim.datasets.io.image_io import ImageSource
from mmmim.datasets.io.pixel_sample import count_levels, take_sample
from mmmim.datasets.io.value_range import checked_range, to_8_bits
from mmmim.datasets.transforms import LoadImage

RAMP = np.linspace(0, 1, 4096).reshape(64, 64)
TWELVE_BITS = (RAMP * 4095).astype(np.uint16)


def found(*arrays, **options):
    """The range of images, in memory, that :func:`take_sample` looks at."""
    channels = arrays[0].shape[2] if arrays[0].ndim == 3 else 1
    return take_sample(ImageSource(array, channels, **options) for array in arrays).find_range()


@pytest.mark.parametrize(
    'name, values, value_range',
    [
        ('12 bits in a 16-bit PNG', TWELVE_BITS, (0, 4095)),
        ('float 0 to 1', RAMP.astype(np.float32), (0, 1)),
        ('float 0 to 1.02', (RAMP * 1.02).astype(np.float32), (0, 1.1)),
        ('reflectance', (200 + 5800 * RAMP).astype(np.float32), (200, 6000)),
        ('10 bits', (RAMP * 1023).astype(np.uint16), (0, 1023)),
        ('16 bits', (RAMP * 65535).astype(np.uint16), (0, 65535)),
        ('signed', (RAMP * 2 - 1).astype(np.float32), (-1, 1)),
        ('int16 temperatures', (RAMP * 80 - 30).round().astype(np.int16), (-30, 50)),
    ],
)
def test_the_range_of_a_sample_keeps_the_levels_of_a_linear_stretch(tmp_path, name, values, value_range):
    result = found(values)
    assert result.value_range == value_range, result.reason
    path = save(tmp_path / ('r.png' if values.dtype == np.uint16 else 'r.tif'), values)
    levels = np.unique(ImageSource(path, 1, result.value_range).read())
    assert len(levels) >= min(235, len(np.unique(values)))


def test_no_single_pixel_decides():
    images = [RAMP.astype(np.float32).copy() for _ in range(3)]
    images[0][0, 0], images[1][3, 3], images[2][5, 5] = 1.02, np.inf, np.nan
    assert found(*images).value_range == (0, 1)
    reads = [ImageSource(image, 1).read() for image in images]
    assert all(len(np.unique(read)) == 256 for read in reads)
    assert (reads[0] != reads[1]).sum() <= 2  # the same scale in both


def test_values_that_stand_for_missing_ones_are_no_part_of_the_range():
    data = 200 + 5800 * RAMP
    below, above = np.where(RAMP < 0.05, -9999, data), np.where(RAMP < 0.05, 65535, data)
    assert found(below.astype(np.float32)).value_range == (400, 6000)  # what is left of the ramp
    assert found(above.astype(np.uint16)).value_range == (400, 6000)


def test_images_of_one_value_have_no_range():
    assert found(np.full((8, 8), 0.5, np.float32)) is None
    assert found(np.full((8, 8), np.nan, np.float32)) is None


def test_dark_channels_get_a_range_of_their_own():
    bands = np.stack([RAMP * 6000, RAMP * 50, RAMP * 3000], axis=2).round().astype(np.uint16)
    assert found(bands).value_range == ((0, 6000), (0, 50), (0, 3000))
    alike = np.stack([RAMP * 6000, RAMP * 5000], axis=2).astype(np.uint16)
    assert found(alike).value_range == (0, 6000)


def test_images_count_together_and_8_bits_stay(tmp_path):
    dark, bright = (RAMP * 1000).astype(np.uint16), (5000 + RAMP * 1000).astype(np.uint16)
    assert found(dark, bright).value_range == (0, 6000)
    grey = save(tmp_path / 'g.png', np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert np.array_equal(ImageSource(grey, 1, (0, 6000)).read().ravel(), np.arange(256))


def test_16_bit_colour_is_not_cut_to_8_bits(tmp_path):
    colours = np.stack([TWELVE_BITS, TWELVE_BITS[::-1], TWELVE_BITS[:, ::-1]], axis=2)
    cv2.imwrite(str(tmp_path / 'a.png'), colours[..., ::-1])
    read = ImageSource(tmp_path / 'a.png', 3, (0, 4095)).read()
    assert np.array_equal(read, np.rint(colours * 255.0 / 4095).astype(np.uint8))
    opaque = np.concatenate([colours, np.full_like(colours[..., :1], 65535)], axis=2)
    cv2.imwrite(str(tmp_path / 'b.png'), opaque[..., [2, 1, 0, 3]])
    with_alpha = ImageSource(tmp_path / 'b.png', 4, (0, 4095)).read()
    assert np.array_equal(with_alpha[..., :3], read) and (with_alpha[..., 3] == 255).all()  # opacity has its own range
    assert np.array_equal(ImageSource(tmp_path / 'b.png', 3, (0, 4095)).read(), read)
    content = (tmp_path / 'a.png').read_bytes()
    (tmp_path / 'cut.png').write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r'cut\.png: it is damaged or not whole'):
        ImageSource(tmp_path / 'cut.png', 3).read()


@pytest.mark.parametrize('dtype', [np.uint16, np.int16, np.uint32, np.int32, np.float16, np.float32, np.float64])
def test_every_type_is_mapped_alike(tmp_path, dtype):
    values = np.linspace(0, 2000, 64).reshape(8, 8).astype(dtype)
    np.save(tmp_path / 'a.npy', values)
    expected = np.rint(np.clip(values.astype(np.float64) * 255 / 1000, 0, 255))
    for source in (values, tmp_path / 'a.npy'):
        assert np.abs(ImageSource(source, 1, (0, 1000)).read()[..., 0] - expected).max() == 0


@pytest.mark.parametrize('wrong', [(1, 0), (0, 0), 5, 'full', (0, np.inf), ((0, 1), (0, 1)), (0, 1, 2)])
def test_a_range_that_is_none(wrong):
    with pytest.raises(ValueError, match=r'value_range is .* it takes \(low, high\) with low < high'):
        LoadImage(channels=3, value_range=wrong)
    assert checked_range([[0, 1]] * 3, 3) == ((0, 1),) * 3


def test_the_transform_reads_with_its_range(tmp_path):
    path = save(tmp_path / 'a.png', TWELVE_BITS)
    results = LoadImage(channels=3, value_range=[0, 4095]).transform(dict(img_path=path))
    assert count_levels(results['source'].read().reshape(-1, 3)) > 250


def test_bools_and_8_bits():
    assert to_8_bits(np.array([False, True])).tolist() == [0, 255]
    values = np.array([3, 200], np.uint8)
    assert to_8_bits(values, (0, 10)) is values


def test_grey_and_colour_images_of_16_bits_have_one_range(tmp_path):
    colours = np.stack([RAMP * 60000, RAMP * 500, RAMP * 30000], axis=2).round().astype(np.uint16)
    cv2.imwrite(str(tmp_path / 'c.png'), colours[..., ::-1])
    grey = save(tmp_path / 'g.png', colours[..., 0])
    paths = (tmp_path / 'c.png', grey)
    look = take_sample(ImageSource(path, 3) for path in paths)
    assert [values.shape[1] for values in look.deep] == [3, 3]
    assert look.find_range().value_range == (0, 60000) and look.clipped(None) == 0
    one = take_sample(ImageSource(path, 1) for path in paths)
    assert np.shape(one.find_range().value_range) == (2,) and one.as_read(None).shape[1] == 1


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('name', ['g.png', 'c.png', 'g.npy'])
def test_a_range_a_channel_is_for_grey_and_colour(tmp_path, channels, name):
    values = TWELVE_BITS if name[0] == 'g' else np.stack([TWELVE_BITS] * 3, axis=2)
    source = values[..., None]
    if name.endswith('.png'):
        cv2.imwrite(str(tmp_path / name), values)
        source = tmp_path / name
    pairs = ((0, 4095), (0, 8190), (0, 16380), (0, 65535))[:channels]
    read = ImageSource(source, channels, pairs).read()
    assert read.shape == (64, 64, channels)
    expected = np.stack([to_8_bits(TWELVE_BITS, pair) for pair in pairs[:3]], axis=2)
    assert np.array_equal(read[..., :3], expected) and (read[..., 3:] == 255).all()


def test_what_cannot_be_read_has_no_range(tmp_path):
    assert take_sample([ImageSource(tmp_path / 'missing.png')]).find_range() is None


def test_big_endian_and_white_is_zero(tmp_path):
    tifffile = pytest.importorskip('tifffile')
    for name, options in (('b.tif', dict(byteorder='>')), ('l.tif', {})):
        tifffile.imwrite(tmp_path / name, TWELVE_BITS, **options)
        assert np.array_equal(
            ImageSource(tmp_path / name, 1, (0, 4095)).read()[..., 0], np.rint(TWELVE_BITS * 255.0 / 4095)
        )
    tifffile.imwrite(tmp_path / 'i.tif', TWELVE_BITS.astype(np.int16) - 1000)
    assert ImageSource(tmp_path / 'i.tif', 1).values().min() == -1000
    Image.fromarray(TWELVE_BITS).save(tmp_path / 'p.tif')
    assert np.array_equal(ImageSource(tmp_path / 'p.tif', 1).values()[..., 0], TWELVE_BITS)
