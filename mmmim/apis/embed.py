"""Features of a folder of images, from a run, a checkpoint or public weights."""

import os
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from torch.utils.data import DataLoader

from ..checkpoint import atomic_write_text
from ..config.check_values import checked
from ..datasets.inputs import Data, all_images
from ..datasets.io.image_io import ImageReadError, ImageSource
from ..datasets.io.list_lines import list_text
from ..datasets.io.pixel_sample import ENOUGH, count_levels, take_sample
from ..engine.hardware import usable_cores
from ..models.networks import FORMS
from ..models.patches import Size
from ..progress import Progress
from .extract import ListedImages, split_readable
from .frozen import Frozen, Layer, load

LOOKED_AT = 16  # images whose values are looked at


class Embedded(NamedTuple):
    """What :func:`embed` wrote: ``features [N, D]`` float32, and the N file names relative to the folder."""

    features: np.ndarray
    names: List[str]
    unreadable: List[str]


@checked
def embed(
    model: Optional[str] = None,
    data: Optional[Data] = None,
    out: str = 'features.npy',
    pool: Optional[str] = None,
    batch_size: int = 128,
    num_workers: Optional[int] = None,
    config: Optional[str] = None,
    device: Optional[str] = None,
    prefix: Optional[str] = None,
    part: Optional[str] = None,
    layer: Layer = None,
    image_size: Optional[Size] = None,
    checkpoint: Optional[str] = None,
) -> Embedded:
    """Write one feature vector for each image of a folder.

    ``out`` gets ``[N, D]`` float32, and a list beside it (``features.txt`` for ``features.npy``) the file names, a line
    for each row; :func:`mmmim.datasets.read_list` reads names of any characters. Unreadable images have no row; they
    are listed. Images go through the preprocessing of a public network, the config's test pipeline, or a centre crop at
    the encoder's size.

    Args:
        model: A run's folder, a checkpoint file of any project, ``'timm:NAME'``, ``'hf-hub:ORG/NAME'``, or
            ``'efficientnet-lite0'``, as in :func:`mmmim.load`.
        data: A folder, of which all images are taken, in the order of their names; or a list, a table, tars, or several
            of them, as :func:`mmmim.pretrain` takes.
        out: A path that ends in ``.npy``.
        pool: ``'mean'``, ``'cls'``, ``'cls_mean'`` or None, as in :func:`mmmim.load`.
        batch_size: Images per batch.
        num_workers: Processes that read images; None: one per core.
        config: The config of the checkpoint, if it is not stored inside.
        device: Such as ``'cuda:1'``; None: a GPU if there is one.
        prefix: Which network, where the file holds several, such as ``'student'``; None takes the one that its project
            evaluates, and says so.
        part: Another name of ``prefix``.
        layer: The block or stage, from 1; ``'auto'``: what the run has stored; None: as in :func:`mmmim.load`.
        image_size: Pixels, if not the network's own.
        checkpoint: Former name of ``model``.

    Raises:
        FileNotFoundError: No such folder, checkpoint or config, or weights could not be fetched.
        ValueError: An unknown name; ``out`` would replace ``data``; no image can be read; or the network has no such
            pooling, layer or image size.
        EncoderMismatchError: The encoder does not fit its config.
    """
    model = _only(model, checkpoint)
    if not out.endswith('.npy'):
        raise ValueError(f'out={out!r} must end in .npy')
    if batch_size < 1:
        raise ValueError(f'batch_size={batch_size} must be at least 1')
    if data is None:
        raise FileNotFoundError('give data: a folder of images, a list, a table or tars')
    _check_out(out, data)
    root, files, said = all_images(data)
    own = os.path.abspath(out)  # of an earlier call: an array, but no image
    files = [file for file in files if os.path.join(root, file) not in (own, f'{own}.unfinished.npy')]
    if not files:
        raise FileNotFoundError(f'there are no images under {data!r}')
    for line in said:
        print(line)
    prefix = prefix if part is None else part
    frozen = load(model, config=config, prefix=prefix, device=device, layer=layer, pool=pool, image_size=image_size)
    if frozen.value_range is None:
        _find_range(frozen, [os.path.join(root, file) for file in files])
    workers = usable_cores() if num_workers is None else num_workers
    dataset = ListedImages([os.path.join(root, file) for file in files], frozen.pipeline)
    loader = DataLoader(dataset, batch_size, num_workers=min(workers, len(dataset)), collate_fn=split_readable)
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    temporary = f'{out}.unfinished.npy'
    try:
        rows = np.lib.format.open_memmap(temporary, 'w+', np.float32, shape=(len(dataset), frozen.width))
        names, unreadable = _write(rows, frozen, loader, files)
        if not names:
            raise ValueError(f'none of the {len(unreadable)} images under {data!r} can be read: {_why(dataset)}')
        rows.flush()
        if unreadable:  # the header of the file says how many rows there are
            np.save(temporary, np.array(rows[: len(names)]))
        os.replace(temporary, out)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    atomic_write_text(f'{out[:-4]}.txt', list_text(names))
    features = np.load(out, mmap_mode='r')
    print(f'{out}: {features.shape[0]} images x {features.shape[1]} values; names in {out[:-4]}.txt')
    for name in unreadable:
        print(f'not readable, left out: {name}')
    return Embedded(features, names, unreadable)


def _check_out(out: str, data: Data) -> None:
    """Raises ValueError where what is written would replace what is read."""
    sources = [data] if isinstance(data, (str, os.PathLike)) else data
    read = {os.path.realpath(os.path.expanduser(source)) for source in sources}
    for written in (out, f'{out[:-4]}.txt'):
        if os.path.realpath(written) in read:
            raise ValueError(f'out={out!r} would overwrite {written}, which is given as data: use another name for out')


def _why(dataset: ListedImages) -> str:
    """What is wrong with the first of images of which none can be read."""
    results = dict(img_path=dataset.files[0], sample_idx=0, seed=0, replaced=[])
    try:
        for transform in dataset.pipeline:
            results = transform(results)
    except ImageReadError as error:
        return str(error)
    return dataset.files[0]


def _find_range(frozen: Frozen, paths: Sequence[str]) -> None:
    """Read images of more than 8 bits with the range that some of them fill, where that of their type would leave them
    almost black or white: public networks state none."""
    step = -(-len(paths) // LOOKED_AT)
    look = take_sample(ImageSource(path, frozen.channels) for path in paths[::step])
    found = look.find_range() if look.deep and count_levels(look.as_read(None)) < ENOUGH else None
    if found is not None:
        frozen.read_with(found.value_range)
        print(f'images are read with value_range={found.value_range}: {found.reason}')


def _only(model: Optional[str], checkpoint: Optional[str]) -> str:
    """The one of two names of an argument that was given."""
    if (model is None) == (checkpoint is None):
        raise ValueError(f'give model: {FORMS} (checkpoint is its former name: not both)')
    return model if checkpoint is None else checkpoint  # type: ignore[return-value]


def _write(rows: np.ndarray, frozen: Frozen, loader: DataLoader, files: Sequence[str]) -> Tuple[List[str], List[str]]:
    """Fill the first rows; returns their names, and the names of unreadable images."""
    names: List[str] = []
    unreadable: List[str] = []
    progress = Progress(len(files), 'embedding')
    for batch, places, bad in loader:
        if batch is not None:
            features = frozen.features(batch, [frozen.layer], frozen.pool)[0]
            rows[len(names) : len(names) + len(features)] = features.numpy()
        names += [files[place] for place in places]
        unreadable += [files[place] for place in bad]
        progress.update(len(places) + len(bad))
    progress.close()
    return names, unreadable
