"""Write a folder of images as WebDataset tars, a few large files, with an index of their images.

    mmmim shards PATH/TO/imagenet/train data/shards/train [--shard-mb 256]
    mmmim shards --check data/shards/train

    train_dataloader = dict(dataset=dict(_delete_=True, type='ShardedImages', data_root='data/shards/train', ...))

Files are copied as they are, in the order of their names. In a tar, image 12 is 000000012.jpg; where the images lie in
folders of classes, 000000012.cls beside it holds its label. A stopped call resumes at the first incomplete shard;
complete shards of the same images are kept. `--check` reads all of it and compares checksums.
"""

import argparse
import io
import json
import os
import os.path as osp
import sys
import tarfile
import zlib
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ..checkpoint import atomic_write_bytes, atomic_write_text
from ..datasets.image_folder import ImageFolder
from ..datasets.sharded_images import INDEX, ShardedImages, merge
from ..progress import Progress, track

BLOCK = tarfile.BLOCKSIZE


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim shards', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folders', nargs='+', metavar='FOLDER', help='of the images, then of the shards')
    parser.add_argument('--shard-mb', type=float, default=256, help='about the size of a tar (default: %(default)s)')
    parser.add_argument('--check', action='store_true', help='read the shards of one folder and compare checksums')
    args = parser.parse_args(argv)
    if len(args.folders) != (1 if args.check else 2):
        parser.error('one folder is needed with --check' if args.check else 'two folders are needed: from, and to')
    if args.shard_mb <= 0:
        parser.error('--shard-mb must be above 0')
    return args


def plan(root: str, files: List[str], limit: float) -> Iterator[List[int]]:
    """The images of each shard: as many, in order, as stay below ``limit`` bytes; at least one."""
    shard, filled = [], 0
    for number, file in enumerate(files):
        size = osp.getsize(osp.join(root, file)) + 4 * BLOCK
        if shard and filled + size > limit:
            yield shard
            shard, filled = [], 0
        shard.append(number)
        filled += size
    yield shard


def write_shard(
    root: str, out: str, name: str, numbers: List[int], files: List[str], labels: Optional[List[int]], progress: Any
) -> Dict[str, Any]:
    """Write one tar under a temporary name and rename it; returns its index entry."""
    part: Dict[str, Any] = dict(
        name=name,
        names=[files[i] for i in numbers],
        offset=[],
        size=[],
        crc=[],
        labels=None if labels is None else [labels[i] for i in numbers],
    )
    temporary = osp.join(out, f'.{name}.unfinished')
    with tarfile.open(temporary, 'w', format=tarfile.USTAR_FORMAT) as tar:
        for number in numbers:
            with open(osp.join(root, files[number]), 'rb') as file:
                content = file.read()
            part['offset'].append(tar.offset + BLOCK)
            part['size'].append(len(content))
            part['crc'].append(zlib.crc32(content))
            add(tar, f'{number:09d}{osp.splitext(files[number])[1].lower()}', content)
            if labels is not None:
                add(tar, f'{number:09d}.cls', str(labels[number]).encode())
            progress.update()
    with open(temporary, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(temporary, osp.join(out, name))
    return part


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a member without time, owner and permissions: the same images make the same tar."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def kept(out: str, name: str, wanted: List[str], labels: Optional[List[int]]) -> Optional[Dict[str, Any]]:
    """The index entry of a shard from an earlier call, if the shard is complete and of the same images."""
    try:
        with open(osp.join(out, f'{name}.json')) as file:
            part = json.load(file)
        whole = osp.getsize(osp.join(out, name)) >= part['offset'][-1] + part['size'][-1]
        return part if whole and part['names'] == wanted and part['labels'] == labels else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def make_shards(root: str, out: str, limit: float) -> Tuple[int, int]:
    """Write the missing shards; returns the numbers of images and of shards.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: No images there.
        OSError: The disk is full, or a file can't be read.
    """

    dataset = ImageFolder(root, pipeline=[], lazy_init=True)
    found = dataset.load_data_list()
    files, labels = found.paths.tolist(), None if found.labels is None else found.labels.tolist()
    if osp.commonpath([osp.abspath(root), osp.abspath(out)]) == osp.abspath(root):
        raise ValueError(f'{out} lies in {root}, the folder of the images: name another')
    os.makedirs(out, exist_ok=True)
    shards = list(plan(root, files, limit))
    parts = []
    progress = Progress(len(files), 'writing shards')
    for number, numbers in enumerate(shards):
        name = f'shard-{number:06d}.tar'
        part = kept(out, name, [files[i] for i in numbers], labels and [labels[i] for i in numbers])
        if part is None:
            part = write_shard(root, out, name, numbers, files, labels, progress)
            atomic_write_text(osp.join(out, f'{name}.json'), json.dumps(part))
        else:
            progress.update(len(numbers))
        parts.append(part)
    progress.close()
    classes = None if labels is None else dataset.metainfo['classes']
    atomic_write_bytes(merge(parts, classes).to_bytes(), osp.join(out, INDEX))
    return len(files), len(shards)


def check(out: str) -> int:
    """Read every image of the shards; returns their number.

    Raises:
        FileNotFoundError, ValueError: An image is missing, truncated, or has another checksum.
    """

    dataset = ShardedImages(out, pipeline=[])
    wrong = []
    for place in track(range(len(dataset)), 'checking shards', unit='image'):
        image = dataset.get_data_info(place)['img']
        if zlib.crc32(image.read()) != dataset.index.crc[place]:
            wrong.append(image.path)
    if wrong:
        raise ValueError(
            f'{len(wrong)} of {len(dataset)} checksums differ from what was written; the first: '
            f'{wrong[0]}. Remove its shard and write it again'
        )
    return len(dataset)


def main(argv: List[str]) -> None:
    args = parse_args(argv)
    try:
        if args.check:
            print(f'{args.folders[0]}: {check(args.folders[0]):,} images as they were written')
        else:
            images, shards = make_shards(*args.folders, args.shard_mb * 1e6)
            print(f'{args.folders[1]}: {images:,} images in {shards:,} shards')
    except KeyboardInterrupt:
        print('stopped; the same command goes on', file=sys.stderr)
        sys.exit(130)
