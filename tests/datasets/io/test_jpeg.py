"""JPEGs by either decoder: Pillow's pixels, at the scale that a crop needs."""

from pathlib import Path

import numpy as np
import pytest
from harness import DATA
from image_files import UPRIGHT, exif_with, save, smooth
from PIL import Image

from mmmim.datasets.io import image_io
from mmmim.datasets.io.image_io import ImageSource
from mmmim.datasets.io.jpeg import decode_jpeg, resize_box
from mmmim.datasets.transforms import RandomResizedCrop


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
    assert decode_jpeg(content[: len(content) // 2], 1, 3) is None and decode_jpeg(b'no image', 1, 3) is None
    assert decode_jpeg(content, 1, 4) is None
    pixels = smooth(20, 30)
    assert resize_box(pixels, (0.5, 0, 10, 10), (5, 5), 'bicubic') is None
    assert resize_box(pixels, (0, 0, 10, 10), (5, 5), 'lanczos') is None


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('channels', [1, 3])
def test_fast_resizing_is_pillows_of_the_part(channels, interpolation):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)[:, :, :channels]
    for (x0, y0, x1, y1), size in (
        ((10, 5, 110, 85), (32, 48)),
        ((3, 2, 40, 30), (64, 64)),
        ((0, 0, 64, 32), (32, 64)),
    ):
        part = np.ascontiguousarray(pixels[y0:y1, x0:x1]).squeeze()
        expected = np.asarray(Image.fromarray(part).resize(size[::-1], image_io.INTERPOLATIONS[interpolation]))
        found = resize_box(pixels, (x0, y0, x1, y1), size, interpolation)
        assert found.shape == (*size, channels) and np.abs(found.squeeze().astype(int) - expected).max() <= 1


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


def test_random_crops_are_near_those_of_a_full_decoding(tmp_path, decoded):
    """PSNR against a whole decoding and Pillow's bicubic resizing, as torchvision's pipeline has it."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft2(rng.standard_normal((3, 480, 640)))
    frequency = np.hypot(np.fft.fftfreq(480)[:, None], np.fft.rfftfreq(640)) + 1 / 640
    waves = np.fft.irfft2(spectrum / frequency, (480, 640))  # as much at each scale as in photographs
    picture = np.clip(127 + 50 * waves / waves.std(), 0, 255).transpose(1, 2, 0).astype(np.uint8)
    path = save(tmp_path / 'a.jpg', picture, quality=90)
    with Image.open(path) as image:
        image = image.convert('RGB')
    np.random.seed(0)
    found = {}
    for size in 30 * (96, 256):
        left, top, width, height = RandomResizedCrop(size, scale=(0.2, 1.0)).box(640, 480)
        full = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BICUBIC)
        error = ImageSource(path).crop((left, top, width, height), (size, size)).astype(float) - np.asarray(full)
        found.setdefault(640 // decoded[-1][0], []).append(10 * np.log10(255**2 / max(np.square(error).mean(), 1e-9)))
    assert set(found) == {1, 2, 4}
    assert min(found[1]) > 50 and min(found[2] + found[4]) > 32 and np.mean(found[2] + found[4]) > 35
