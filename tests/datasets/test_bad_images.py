"""Files that can't be read, or shouldn't be, and what reading leaves behind."""

import io
import os
import pickle
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from mmmim.datasets.io.image_io import ImageReadError, ImageSource

NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def test_size_reads_the_header_only(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 8  # stored lying on its side
    jpeg, png = tmp_path / 'a.jpg', tmp_path / 'a.png'
    Image.fromarray(NOISE).save(jpeg, exif=exif)
    jpeg.write_bytes(jpeg.read_bytes()[:1500])  # headers are whole, pixels are not
    assert ImageSource(jpeg).size == (64, 96)
    with pytest.raises(ImageReadError, match='truncated'):
        ImageSource(jpeg).read()
    Image.fromarray(NOISE).save(png)
    monkeypatch.setattr(ImageFile.ImageFile, 'load', lambda self: pytest.fail('pixels were decoded'))
    assert ImageSource(png).size == (96, 64)


def truncated(path):
    Image.fromarray(NOISE).save(path)
    path.write_bytes(path.read_bytes()[:-40])


BAD_FILES = {
    'missing.jpg': (lambda path: None, 'FileNotFoundError'),
    'empty.jpg': (lambda path: path.write_bytes(b''), 'empty'),
    'text.jpg': (lambda path: path.write_text('not an image\n' * 50), 'not an image of a known format'),
    'script.jpg': (lambda path: path.write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n'), 'not an image'),
    'cut.jpg': (truncated, 'truncated'),
    'cut.png': (truncated, 'truncated'),
    'cut.webp': (truncated, ''),
    'cut.tif': (truncated, ''),
    'folder.jpg': (lambda path: path.mkdir(), 'IsADirectoryError'),
}


@pytest.mark.parametrize('name', BAD_FILES)
def test_bad_files_name_path_and_reason(tmp_path, name):
    make, reason = BAD_FILES[name]
    make(tmp_path / name)
    before = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0
    for _ in range(5):
        with pytest.raises(ImageReadError) as caught:
            ImageSource(tmp_path / name).read()
    assert caught.value.path == str(tmp_path / name)
    assert reason in caught.value.reason and caught.value.reason
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.path, copy.reason) == (caught.value.path, caught.value.reason)
    del caught
    if before:
        assert len(os.listdir('/proc/self/fd')) <= before + 1  # + 1: the last error may hold its own file


def test_decompression_bomb(tmp_path):
    header = struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
    chunks = b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in ((b'IHDR', header), (b'IDAT', zlib.compress(b'\0' * 1000)), (b'IEND', b''))
    )
    (tmp_path / 'a.png').write_bytes(b'\x89PNG\r\n\x1a\n' + chunks)
    with pytest.raises(ImageReadError, match='MMMIM_MAX_PIXELS'):
        ImageSource(tmp_path / 'a.png').size


def test_files_are_closed_and_remarks_on_metadata_stay_away(tmp_path):
    content = io.BytesIO()
    Image.fromarray(NOISE).save(content, 'JPEG', exif=b'Exif\0\0II*\0\x08\0\0\0\xff\xff' + b'\x12\x01' * 20)
    (tmp_path / 'a.jpg').write_bytes(content.getvalue())
    np.save(tmp_path / 'a.npy', NOISE)
    before = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # a file that is not closed warns as well
        sources = [ImageSource(tmp_path / name) for name in ('a.jpg', 'a.npy')]
        for source in sources:
            assert source.size == (96, 64)
            assert source.read().shape == source.crop((0, 0, 96, 64), (64, 96)).shape == (64, 96, 3)
    if before:
        assert len(os.listdir('/proc/self/fd')) == before


def test_npy_is_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    np.save(tmp_path / 'a.npy', np.array([[[Evil()]]], dtype=object), allow_pickle=True)
    (tmp_path / 'b.npy').write_bytes(pickle.dumps(Evil()))
    for name in ('a.npy', 'b.npy'):
        with pytest.raises(ImageReadError):
            ImageSource(tmp_path / name, 1).read()
    assert not (tmp_path / 'executed').exists()
    np.save(tmp_path / 'c.npy', np.zeros((2, 2, 3), np.complex64))
    with pytest.raises(ImageReadError, match='complex64'):
        ImageSource(tmp_path / 'c.npy').size
