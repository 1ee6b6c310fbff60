"""Pictures of reconstructions: original, masked, reconstruction."""

import os
from typing import Any, Dict, Iterable, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ..evaluation.features import evaluating
from ..models.patches import composite, patch_statistics, patchify
from ..structures import DataSample
from .images import GREY, to_tile
from .panel import Panel

# a picture that was painted with the statistics of removed pixels has to say so
RECONSTRUCTION = 'reconstruction'
FROM_ORIGINAL = "reconstruction (original patch's mean and variance)"
FROM_VISIBLE = 'reconstruction (mean and variance of the nearest visible patches)'


def reconstruction_panel(
    model: nn.Module,
    batch: dict,
    optim_wrapper: Optional[object] = None,
    visible_statistics: bool = False,
    notes: Optional[Dict[str, Any]] = None,
) -> Panel:
    """A row for each image: original, masked, and the reconstruction where the target can paint one.

    An algorithm adds columns of its own with the metainfo ``pictures`` of the samples that ``predict`` returns: a dict
    from the name of a field ``[C, H, W]`` (normalised) to the title of its column. Those of ``pictures_before_mask``
    stand beside the original; ``reconstruction_title`` is the title of the reconstruction, beginning with this word.

    Args:
        model: A pre-training algorithm, not wrapped. It is unchanged.
        batch: From a loader: ``inputs`` uint8 ``[B, C, H, W]`` (of several views the first is shown) and
            ``data_samples``, whose seeds determine the masks.
        optim_wrapper: Its precision is used; float32 without it.
        visible_statistics: Where the reconstruction uses the mean and variance of the original patch, which the model
            was not shown, add one that takes them from the nearest visible patches.
        notes: Further notes of the panel.

    Returns:
        The panel; its notes have ``uses_original_statistics``, ``mask_ratio``, ``recon_loss`` and ``images`` (paths).
    """
    inputs, samples = _reconstruct(model, batch, optim_wrapper)
    rows = [_row(model, image, sample, visible_statistics) for image, sample in zip(inputs, samples)]
    losses = [float(sample.recon_loss) for sample in samples]
    about = dict(
        uses_original_statistics=bool(samples[0].get('uses_original_statistics', False)),
        mask_ratio=float(samples[0].mask.float().mean()),
        recon_loss=losses,
        images=[str(sample.get('img_path', '')) for sample in samples],
        **(notes or {}),
    )
    names = [f'{short_name(path)}  loss {loss:.3f}'.strip() for path, loss in zip(about['images'], losses)]
    return Panel([[tile for _, tile in row] for row in rows], [title for title, _ in rows[0]], names, about)


def compare_reconstructions(
    models: Iterable[Tuple[str, nn.Module]],
    batch: dict,
    visible_statistics: bool = False,
    notes: Optional[Dict[str, Any]] = None,
) -> Panel:
    """The same images under the same masks, completed by several models: original, masked, reconstruction; below one
    another for each image, a row a model.

    Args:
        models: Name and algorithm, one after the other. The first one's masking is all models'.
        batch: As in :func:`reconstruction_panel`; each model normalises it by its own statistics.
        visible_statistics: Paint with the mean and variance of the nearest visible patches where a model would use the
            original patch's. A row says which it has.
        notes: Further notes of the panel.

    Returns:
        The panel; its notes have ``models``, ``mask_ratio``, ``images`` (paths) and ``recon_loss``, a list for each
        model, of its own target: losses of different targets do not compare.

    Raises:
        ValueError: A model for other images, or with another grid of patches, than the first one's; or one that paints
            no pixels.
    """
    first: Optional[nn.Module] = None
    names: List[str] = []
    rows: List[List[Tuple[str, List[np.ndarray]]]] = []  # of each model, of each image
    losses: List[List[float]] = []
    for name, model in models:
        if first is None:
            first = model
        else:
            _check_alike(name, model, names[0], first)
            model.masking = first.masking
        inputs, samples = _reconstruct(model, batch)
        if RECONSTRUCTION not in samples[0]:
            raise ValueError(
                f'{name}: {type(model).__name__} paints no pixels with the target that it was trained with'
            )
        names.append(name)
        losses.append([float(sample.recon_loss) for sample in samples])
        rows.append([_row_of_three(model, *one, visible_statistics) for one in zip(inputs, samples)])
    paths = [str(sample.get('img_path', '')) for sample in samples]
    ratio = float(samples[0].mask.float().mean())
    about = dict(models=names, mask_ratio=ratio, recon_loss=losses, images=paths, **(notes or {}))
    below = [(path, name, *of_model[i]) for i, path in enumerate(paths) for name, of_model in zip(names, rows)]
    labels = ['  '.join(filter(None, [short_name(path), name, how])) for path, name, how, _ in below]
    return Panel([tiles for *_, tiles in below], ['original', 'masked', RECONSTRUCTION], labels, about)


def _check_alike(name: str, model: nn.Module, first_name: str, first: nn.Module) -> None:
    facts = [
        (
            f'images of {m.backbone.img_size[0]}x{m.backbone.img_size[1]} pixels and {m.backbone.in_chans} channels',
            f'masks on a grid of {m.masking.grid[0]}x{m.masking.grid[1]} patches',
        )
        for m in (first, model)
    ]
    differences = [f'{other} where {first_name} has {own}' for own, other in zip(*facts) if own != other]
    if differences:
        raise ValueError(
            f'{name} has {" and ".join(differences)}: the same masks are those of models with the same size of image '
            'and the same grid of patches. Make a picture of each by itself'
        )


def _row_of_three(
    model: nn.Module, image: Tensor, sample: DataSample, visible_statistics: bool
) -> Tuple[str, List[np.ndarray]]:
    """What a painted patch has of the original, in words, and the three tiles."""
    tiles = dict(_row(model, image, sample, visible_statistics))
    found = next(title for title in tiles if title.startswith(RECONSTRUCTION))
    if visible_statistics and FROM_VISIBLE in tiles:
        found = FROM_VISIBLE
    how = found.removeprefix(RECONSTRUCTION).strip() if found in (FROM_ORIGINAL, FROM_VISIBLE) else ''
    return how, [tiles['original'], tiles['masked'], tiles[found]]


def _reconstruct(
    model: nn.Module, batch: dict, optim_wrapper: Optional[object] = None
) -> Tuple[Tensor, List[DataSample]]:
    """The images ``[B, C, H, W]``, normalised, on the host, and what the model says of each."""
    with evaluating(model, optim_wrapper):
        data = model.data_preprocessor(batch, False)
        inputs = data['inputs'][0] if isinstance(data['inputs'], (list, tuple)) else data['inputs']
        samples = [sample.clone() for sample in data['data_samples'] or []]  # predict writes into them
        predict = getattr(model, 'completions', model.predict)  # several draws, where a method has noise
        samples = predict(inputs, samples or None)
    return inputs.cpu(), samples


def short_name(path: str) -> str:
    """A file with its folder, which often is its class: ``'a/b/cat/1.jpg' -> 'cat/1.jpg'``."""
    return '/'.join(os.path.normpath(path).split(os.sep)[-2:]) if path else ''


def _row(model: nn.Module, image: Tensor, sample: DataSample, visible_statistics: bool) -> List[Tuple[str, np.ndarray]]:
    grid = model.masking.grid  # of the masked patches, which may be finer than the encoder's
    size = (image.shape[1] // grid[0], image.shape[2] // grid[1])
    row = [('original', to_tile(image, model.data_preprocessor))]
    row += _more(model, sample, 'pictures_before_mask')
    if 'masked_image' in sample:
        masked = to_tile(sample.masked_image, model.data_preprocessor)
        removed = sample.mask.reshape(grid).bool().numpy().repeat(size[0], 0).repeat(size[1], 1)
        masked[removed] = GREY
        row.append(('masked', masked))
    if RECONSTRUCTION in sample:
        leaks = sample.get('uses_original_statistics', False)
        title = FROM_ORIGINAL if leaks else sample.get('reconstruction_title', RECONSTRUCTION)
        row.append((title, to_tile(sample.reconstruction, model.data_preprocessor)))
        if leaks and visible_statistics:
            honest = paint_from_visible(image[None], sample.reconstruction[None], sample.mask[None], size, grid)
            row.append((FROM_VISIBLE, to_tile(honest[0], model.data_preprocessor)))
    return row + _more(model, sample, 'pictures')


def _more(model: nn.Module, sample: DataSample, key: str) -> List[Tuple[str, np.ndarray]]:
    return [(title, to_tile(sample.get(name), model.data_preprocessor)) for name, title in sample.get(key, {}).items()]


def paint_from_visible(
    images: Tensor, painted: Tensor, mask: Tensor, patch_size: Tuple[int, int], grid: Tuple[int, int], eps: float = 1e-6
) -> Tensor:
    """Give removed patches the mean and variance of the nearest visible ones, instead of the original's.

    Args:
        images: Originals ``[B, C, H, W]``.
        painted: The same, removed patches painted with the original's statistics.
        mask: ``[B, L]``, 1 = removed.
        patch_size, grid: (height, width) in pixels and in patches.
        eps: As in :func:`~mmmim.models.patches.normalize_patches`.

    Returns:
        ``[B, C, H, W]``; visible patches are as in ``images``.
    """
    original, patches = patchify(images.float(), patch_size), patchify(painted.float(), patch_size)
    mean, var = patch_statistics(original)
    prediction = (patches - mean) / (var + eps).sqrt()  # the model's output, without the statistics
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing='ij')
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    distance = torch.cdist(places, places).round(decimals=3)  # [L, L], in patches
    distance = distance.masked_fill(mask[:, None].bool(), float('inf'))  # [B, L, L]: to visible ones only
    nearest = (distance == distance.amin(dim=2, keepdim=True)).float()
    nearest = nearest / nearest.sum(dim=2, keepdim=True)
    honest = prediction * (nearest @ var + eps).sqrt() + nearest @ mean
    return composite(images.float(), honest, mask, patch_size)
