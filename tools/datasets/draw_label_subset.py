"""Draw a small, class-balanced share of a folder of classes, and write the list of its images.

    python tools/datasets/draw_label_subset.py data/imagenet/train --share 0.01 --out data/imagenet/1percent.txt

Each line is ``class/file.jpg label``. ImageFolder and ImageSubset read it as their ann_file, so that a config
fine-tunes with 1% of the labels, or pre-trains on 1% of the images. Of a class with n images ``round(share * n)`` are
drawn, at least one. The same images and the same seed give the same file.

With ``--out OUT.csv`` it is a table of file, relative to its folder, and class, as ``mmmim finetune --data``,
``mmmim pretrain --data`` and ``--labels`` read it.
"""

import argparse
import csv
import io
import os
import sys
from pathlib import Path
from typing import Sequence

try:
    import mmmim  # noqa: F401  (says what is missing, where something is)
except ImportError as error:
    sys.exit(str(error))


def draw(data_root: str, share: float, out: Path, seed: int = 0) -> int:
    """Write the list.

    Returns:
        The number of images in it.

    Raises:
        FileNotFoundError, ValueError: There are no class folders with images, or the share is out of range.
        FileExistsError: There is another list at ``out``: another run may have been trained with it.
    """
    from mmmim.checkpoint import atomic_write_text
    from mmmim.datasets import ImageFolder, draw_per_class

    dataset = ImageFolder(data_root, with_label=True)
    labels = dataset.get_labels()
    root = Path(dataset.data_prefix['img_path'])
    chosen = draw_per_class(labels, share, seed)
    paths = [Path(dataset.get_data_info(i)['img_path']) for i in chosen]
    if out.suffix == '.csv':
        names = [dataset.metainfo['classes'][labels[i]] for i in chosen]
        text = table([os.path.relpath(path, out.parent) for path in paths], names)
    else:
        text = ''.join(f'{path.relative_to(root).as_posix()} {labels[i]}\n' for path, i in zip(paths, chosen))
    if out.exists() and out.read_text() != text:
        raise FileExistsError(f'{out} holds another list: choose another name, or remove it')
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(str(out), text)
    return len(chosen)


def table(files: Sequence[str], names: Sequence[str]) -> str:
    """A csv of file and label."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator='\n').writerows([('file', 'label'), *zip(files, names)])
    return stream.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', help='the folder of class folders')
    parser.add_argument('--share', type=float, required=True, help='0.01 draws 1%% of each class')
    parser.add_argument('--out', type=Path, required=True, help='the list to write')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    from mmmim.engine.launch import USER_ERRORS, end_with

    try:
        count = draw(**vars(args))
    except (*USER_ERRORS, FileExistsError) as error:
        end_with(error, None)
    print(f'{args.out}: {count} images, {args.share:.3%} of each class, seed {args.seed}')


if __name__ == '__main__':
    main()
