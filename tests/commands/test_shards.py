"""Tar shards: written once, resumable, checked, and read as the folder that they were made of."""

import runpy
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import ROOT, make_config, read_curve, train_here
from torch.utils.data import DataLoader

from mmmim.datasets import ImageFolder, SampleIndex, SeededDataset, ShardedImages
from mmmim.datasets.sharded_images import INDEX, ShardIndex

TOOL = str(ROOT / 'tools/datasets/make_shards.py')
PIPELINE = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', size=16),
    dict(type='RandomFlip'),
    dict(type='PackImage'),
]


def make_shards(monkeypatch, *args):
    """What the tool exits with, a message or a number; None when it ends well."""
    monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
    try:
        runpy.run_path(TOOL, run_name='__main__')
    except SystemExit as end:
        return end.code


@pytest.fixture(scope='module')
def shards(tmp_path_factory, image_root):
    """64 images in two class folders, as some tars."""
    out = tmp_path_factory.mktemp('shards') / 'train'
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert make_shards(monkeypatch, image_root, out, '--shard-mb', '0.06') is None
    assert len(list(out.glob('*.tar'))) > 3
    return out


def test_samples_are_those_of_the_folder(shards, image_root):
    folder, tars = (
        kind(str(root), pipeline=PIPELINE) for kind, root in ((ImageFolder, image_root), (ShardedImages, shards))
    )
    assert len(tars) == len(folder) == 64 and tars.metainfo['classes'] == folder.metainfo['classes']
    assert (tars.get_labels() == folder.get_labels()).all()
    for place in (0, 17, 63):
        one, other = (SeededDataset(dataset)[SampleIndex(place, 5)] for dataset in (folder, tars))
        assert torch.equal(one['inputs'], other['inputs'])
        assert one['data_samples'].gt_label == other['data_samples'].gt_label


def test_training_is_that_of_the_folder(shards, image_root, tmp_path):
    for name, data in (
        ('folder', dict(type='ImageFolder', data_root=str(image_root))),
        ('shards', dict(type='ShardedImages', data_root=str(shards))),
    ):
        cfg = make_config(tmp_path / name, image_root, epochs=2, workers=2)
        cfg.train_dataloader.dataset.update(data)
        train_here(cfg)
    assert read_curve(tmp_path / 'folder') == read_curve(tmp_path / 'shards')


def test_other_readers_of_webdataset_find_pairs(shards, image_root):
    index = ShardIndex.from_bytes((shards / INDEX).read_bytes(), 'index')
    number = 0
    for path in sorted(shards.glob('*.tar')):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            for image, label in zip(members[::2], members[1::2]):
                assert Path(image.name).stem == Path(label.name).stem == f'{number:09d}'
                assert tar.extractfile(image).read() == (image_root / index.names[number]).read_bytes()
                assert int(tar.extractfile(label).read()) == index.labels[number]
                number += 1
    assert number == 64


def test_a_stopped_writing_goes_on(shards, image_root, tmp_path, monkeypatch):
    out = tmp_path / 'again'
    shutil.copytree(shards, out)
    tars = sorted(out.glob('*.tar'))
    tars[1].write_bytes(tars[1].read_bytes()[:1000])  # cut
    tars[2].unlink()
    (out / INDEX).unlink()
    before = {path.name: path.stat().st_mtime_ns for path in tars[:1] + tars[3:]}
    assert make_shards(monkeypatch, image_root, out, '--shard-mb', '0.06') is None
    for path in sorted(shards.glob('*')):
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before


def test_check_finds_a_changed_byte(shards, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'changed'
    shutil.copytree(shards, out)
    assert make_shards(monkeypatch, '--check', out) is None
    assert '64 images as they were written' in capsys.readouterr().out
    index = ShardIndex.from_bytes((out / INDEX).read_bytes(), 'index')
    path = out / index.shards[index.shard[9]]
    content = bytearray(path.read_bytes())
    content[index.offset[9] + 40] ^= 1
    path.write_bytes(content)
    error = make_shards(monkeypatch, '--check', out)
    assert '1 of 64 checksums differ' in error and index.names[9] in error


def test_a_damaged_image_is_replaced_and_named(shards, tmp_path):
    out = tmp_path / 'damaged'
    shutil.copytree(shards, out)
    index = ShardIndex.from_bytes((out / INDEX).read_bytes(), 'index')
    with open(out / index.shards[0], 'r+b') as file:
        file.seek(index.offset[0])
        file.write(bytes(int(index.size[0])))
    sample = ShardedImages(str(out), pipeline=PIPELINE)[SampleIndex(0, 5)]
    ((path, reason),) = sample['data_samples'].replaced
    assert path.endswith(f'shard-000000.tar/{index.names[0]}') and 'not an image' in reason


def test_urls_are_read_in_worker_processes(shards):
    pipeline = [dict(type='LoadImage'), dict(type='Resize', size=16), dict(type='PackImage')]
    local, remote = (ShardedImages(root, pipeline=pipeline) for root in (str(shards), f'file://{shards}'))
    first = [sample['inputs'] for sample in DataLoader(local, batch_size=None, num_workers=2)]
    second = [sample['inputs'] for sample in DataLoader(remote, batch_size=None, num_workers=2)]
    assert len(first) == 64 and all(map(torch.equal, first, second))


def test_indices_and_labels(shards, image_root):
    part = ShardedImages(str(shards), pipeline=PIPELINE, indices=[3, 60])
    assert len(part) == 2 and part.get_data_info(1)['img_path'].endswith(part.index.names[60])
    assert len(ShardedImages(str(shards), pipeline=PIPELINE, indices=5)) == 5
    plain = ShardedImages(str(shards), pipeline=PIPELINE, with_label=False)
    assert 'gt_label' not in plain.get_data_info(0)
    with pytest.raises(ValueError, match='have no labels'):
        plain.get_labels()


def test_images_without_classes(image_root, tmp_path, monkeypatch):
    flat = tmp_path / 'flat'
    flat.mkdir()
    for path in sorted(image_root.rglob('*.*'))[:5]:
        shutil.copy(path, flat)
    assert make_shards(monkeypatch, flat, tmp_path / 'out') is None
    dataset = ShardedImages(str(tmp_path / 'out'), pipeline=PIPELINE)
    assert len(dataset) == len(list(flat.iterdir())) and dataset.index.classes is None
    with pytest.raises(ValueError, match='written without classes'):
        ShardedImages(str(tmp_path / 'out'), pipeline=PIPELINE, with_label=True)


def test_what_is_missing_or_cut_is_said(shards, tmp_path):
    with pytest.raises(FileNotFoundError, match='there are no shards in .*mmmim shards. writes them'):
        ShardedImages(str(tmp_path / 'nowhere'), pipeline=PIPELINE)
    out = tmp_path / 'cut'
    shutil.copytree(shards, out)
    last = sorted(out.glob('*.tar'))[-1]
    last.write_bytes(last.read_bytes()[:2000])
    with pytest.raises(ValueError, match='has 2000 bytes, and its index needs'):
        ShardedImages(str(out), pipeline=PIPELINE)
    last.unlink()
    with pytest.raises(FileNotFoundError, match=f'{last.name} is missing, one of'):
        ShardedImages(str(out), pipeline=PIPELINE)
    (out / INDEX).write_bytes((out / INDEX).read_bytes()[:200])
    with pytest.raises(ValueError, match='no index of shards, or not whole'):
        ShardedImages(str(out), pipeline=PIPELINE)
    np.savez(out / INDEX, head=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match='no index of shards'):  # nothing is unpickled
        ShardedImages(str(out), pipeline=PIPELINE)
    (out / INDEX).write_bytes(b'<html>not found</html>')
    with pytest.raises(ValueError, match='index.npz is no index of shards'):
        ShardedImages(str(out), pipeline=PIPELINE)


def test_bad_commands(image_root, tmp_path, monkeypatch, capsys):
    assert make_shards(monkeypatch, image_root) == 2 and 'two folders are needed' in capsys.readouterr().err
    assert 'does not exist' in make_shards(monkeypatch, tmp_path / 'nowhere', tmp_path / 'out')
    assert 'lies in' in make_shards(monkeypatch, image_root, image_root / 'out') and not (image_root / 'out').exists()
