"""Features of a folder of images, from any checkpoint with an encoder."""

import os
from typing import List, NamedTuple, Optional, Tuple, Union

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..checkpoint import atomic_write_text
from ..datasets.io.file_list import list_images
from ..datasets.io.image_io import ImageReadError
from ..datasets.loading import mim_collate
from ..engine.hardware import usable_cores
from ..models.necks.pool_tokens import pool_tokens
from ..progress import Progress
from .from_checkpoint import build_pipeline, load_backbone, read_source


class Embedded(NamedTuple):
    """What :func:`embed` wrote: ``features [N, D]`` float32, and the N file names relative to the folder."""

    features: np.ndarray
    names: List[str]
    unreadable: List[str]


@torch.no_grad()
def embed(
    checkpoint: str,
    data: str,
    out: str = 'features.npy',
    pool: str = 'mean',
    batch_size: int = 128,
    num_workers: Optional[int] = None,
    config: Optional[str] = None,
    device: Optional[str] = None,
    prefix: Optional[str] = None,
    part: Optional[str] = None,
) -> Embedded:
    """Write one feature vector for each image of a folder.

    ``out`` gets ``[N, D]`` float32, and a text file beside it (``features.txt`` for ``features.npy``) the file names, a
    line for each row. Unreadable images have no row; they are listed. Images go through the config's test pipeline, or
    a centre crop at the encoder's size.

    Args:
        checkpoint: A training checkpoint, an exported ``encoder.safetensors``, or a ViT of another project.
        data: A folder; all images below it are taken, in the order of their names.
        out: A path that ends in ``.npy``.
        pool: ``'mean'`` of the patch tokens, or the class token ``'cls'``.
        batch_size: Images per batch.
        num_workers: Processes that read images; None: one per core.
        config: The config of the checkpoint, if it is not stored inside.
        device: Such as ``'cuda:1'``; None: a GPU if there is one.
        prefix: Which network, where the file holds several, such as ``'student'``; None takes the one that its project
            evaluates, and says so.
        part: Another name of ``prefix``.

    Raises:
        FileNotFoundError: No such folder, checkpoint or config.
        ValueError: No image can be read, or the encoder has no such pooling.
        EncoderMismatchError: The encoder does not fit its config.
    """
    if not out.endswith('.npy'):
        raise ValueError(f'out={out!r} must end in .npy')
    if batch_size < 1:
        raise ValueError(f'batch_size={batch_size} must be at least 1')
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    source = read_source(checkpoint, config, prefix if part is None else part)
    backbone, preprocessor = load_backbone(source)
    backbone, preprocessor = backbone.to(device), preprocessor.to(device)
    pipeline = build_pipeline(source, backbone.img_size, len(preprocessor.mean))
    if not os.path.isdir(data):
        raise FileNotFoundError(f'there is no folder {data!r}')
    dataset = _Files(data, pipeline)
    if not len(dataset):
        raise FileNotFoundError(f'there are no images under {data!r}')
    workers = usable_cores() if num_workers is None else num_workers
    loader = DataLoader(dataset, batch_size, num_workers=min(workers, len(dataset)), collate_fn=_collate)
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    temporary = f'{out}.unfinished.npy'
    try:
        rows = np.lib.format.open_memmap(temporary, 'w+', np.float32, shape=(len(dataset), backbone.embed_dim))
        names, unreadable = _write(rows, backbone, preprocessor, loader, pool)
        if not names:
            raise ValueError(f'none of the {len(unreadable)} images under {data!r} can be read: {unreadable[0]}')
        rows.flush()
        if unreadable:  # the header of the file says how many rows there are
            np.save(temporary, np.array(rows[: len(names)]))
        os.replace(temporary, out)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    atomic_write_text(f'{out[:-4]}.txt', ''.join(f'{name}\n' for name in names))
    features = np.load(out, mmap_mode='r')
    print(f'{out}: {features.shape[0]} images x {features.shape[1]} values; names in {out[:-4]}.txt')
    for name in unreadable:
        print(f'not readable, left out: {name}')
    return Embedded(features, names, unreadable)


class _Files(Dataset):
    """The images below a folder, in the order of their names; an unreadable one yields its name."""

    def __init__(self, folder: str, pipeline: list) -> None:
        self.folder, self.pipeline, self.names = folder, pipeline, list_images(folder)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Union[dict, str]:
        results = dict(img_path=os.path.join(self.folder, self.names[index]), sample_idx=index, seed=0, replaced=[])
        try:
            for transform in self.pipeline:
                results = transform(results)
        except ImageReadError:
            return self.names[index]
        return results


def _collate(items: List[Union[dict, str]]) -> Tuple[Optional[dict], List[str]]:
    """The samples as a batch (None if there are none), and the names of unreadable images."""
    samples = [item for item in items if not isinstance(item, str)]
    return mim_collate(samples) if samples else None, [item for item in items if isinstance(item, str)]


def _write(
    rows: np.ndarray, backbone: nn.Module, preprocessor: nn.Module, loader: DataLoader, pool: str
) -> Tuple[List[str], List[str]]:
    """Fill the first rows; returns their names, and the names of unreadable images."""
    names, unreadable = [], []
    progress = Progress(len(loader.dataset), 'embedding')
    for data, bad in loader:
        unreadable += bad
        if data is not None:
            batch = preprocessor(data, False)
            features = pool_tokens(
                backbone(batch['inputs']), backbone.num_prefix_tokens, pool, backbone.num_register_tokens
            )
            rows[len(names) : len(names) + len(features)] = features.float().cpu().numpy()
            names += [loader.dataset.names[sample.sample_idx] for sample in batch['data_samples']]
        progress.update(len(names) + len(unreadable) - progress.done)
    progress.close()
    return names, unreadable
