"""Training samples as a config's pipeline makes them: views, masks, labels."""

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from .. import randomness
from ..config.prepare import set_up_scope, settle
from ..datasets import SampleIndex, SeededDataset, mim_collate
from ..models.build import build_part, check_model
from ..models.patches import composite
from ..registry import DATASETS, MODELS
from .images import to_tile
from .overlay import enlarged, paint_instances, paint_mask, paint_points
from .panel import Panel
from .reconstruction import short_name

Column = Tuple[str, np.ndarray]  # title, tile


def training_panel(cfg: Config, images: int = 8, epochs: int = 3) -> Panel:
    """A row for each of some images, with its training samples of the first epochs.

    The draws are those of training: with our samplers a sample depends on (seed, epoch, index) alone, so that epoch 2
    here is epoch 2 of a run (with ``repeat_crops`` the first crop, of images of that epoch). Other toolboxes' samplers
    draw differently in each run.

    - Pre-training: the view or views after all augmentation, also that on the device, and the first view without the
      removed patches.
    - Segmentation: the crop under its label mask; ignored pixels are unchanged.
    - Detection: boxes and masks in the crop.
    - Landmarks: the points in the crop, before the changes of colour on the device.
    - Classification: the crop; the label is in the row's name.

    Raises:
        ValueError: No images or epochs, or the config has no training data.
    """
    if images < 1 or epochs < 1:
        raise ValueError(f'{images} images and {epochs} epochs: give at least one of each')
    if not cfg.get('train_dataloader'):
        raise ValueError('the config has no `train_dataloader`: give one that trains')
    set_up_scope(cfg)
    settle(cfg)
    dataset = DATASETS.build(dict(type='mmmim.SeededDataset', dataset=cfg.train_dataloader.dataset))
    seed = (cfg.get('randomness') or {}).get('seed') or 0
    count = min(images, len(dataset))
    indices = [(2 * k + 1) * len(dataset) // (2 * count) for k in range(count)]
    rows: List[List[Column]] = [[] for _ in indices]
    for epoch in range(epochs):
        samples = [_read(dataset, index, seed, epoch) for index in indices]
        for row, columns in zip(rows, _pictures(cfg, samples)):
            row += [(f'epoch {epoch + 1}: {title}', tile) for title, tile in columns]
    names = [_row_name(sample['data_samples']) for sample in samples]
    return Panel(
        [[tile for _, tile in row] for row in rows],
        [title for title, _ in rows[0]],
        names,
        dict(indices=indices, seed=seed, caption=f'{len(dataset)} training images, seed {seed}'),
    )


def _read(dataset: SeededDataset, index: int, seed: int, epoch: int) -> dict:
    return dataset[SampleIndex(index, randomness.derive(seed, epoch, index))]


def _pictures(cfg: Config, samples: Sequence[dict]) -> List[List[Column]]:
    """The columns of each sample of a batch."""
    model = MODELS.get(cfg.model.type) if isinstance(cfg.model.type, str) else cfg.model.type
    if hasattr(model, 'draw_mask'):
        return _pretraining(cfg, samples)
    to_rgb = bool((cfg.model.get('data_preprocessor') or {}).get('bgr_to_rgb'))
    return [[_labelled(sample, to_rgb)] for sample in samples]


def _pretraining(cfg: Config, samples: Sequence[dict]) -> List[List[Column]]:
    check_model(cfg.model)
    preprocessor = build_part(
        cfg.model.get('data_preprocessor') or dict(type='MIMDataPreprocessor'), 'data_preprocessor'
    )
    with torch.device('meta'):  # only its mask is needed, not its weights
        algorithm = MODELS.build({**cfg.model, 'data_preprocessor': None})
    data = preprocessor(mim_collate(samples), True)
    views = data['inputs'] if isinstance(data['inputs'], list) else [data['inputs']]
    removed = algorithm.draw_mask(views[0], data['data_samples']).mask
    masked = composite(views[0], 0.0, removed, algorithm.backbone.patch_size)
    titles = ['view'] if len(views) == 1 else ['online view', 'target view', *map(str, range(3, len(views) + 1))]
    columns: Dict[str, Tensor] = {**dict(zip(titles, views)), 'masked': masked}
    return [[(title, to_tile(batch[i], preprocessor)) for title, batch in columns.items()] for i in range(len(samples))]


def _labelled(sample: dict, bgr_to_rgb: bool) -> Column:
    """The input crop of a model of a downstream task, enlarged when small, under its label."""
    image = sample['inputs'].permute(1, 2, 0).contiguous().numpy()
    image = np.ascontiguousarray(image[..., ::-1]) if bgr_to_rgb else image
    image, factor = enlarged(image)
    label = sample['data_samples']
    if hasattr(label, 'gt_sem_seg'):
        return 'crop and mask', paint_mask(image, label.gt_sem_seg.data.squeeze().numpy(), factor=factor)
    if hasattr(label, 'gt_instances'):
        return 'crop and instances', paint_instances(image, label.gt_instances, factor=factor)
    if hasattr(label, 'crop_points'):
        return 'crop and points', paint_points(image, label.crop_points.numpy(), factor)
    return 'crop', image


def _row_name(sample: Any) -> str:
    """The file, and the class if it is known."""
    path = short_name(str(sample.get('img_path') or ''))
    label = getattr(sample, 'gt_label', None)
    if label is None:
        return path
    return f'{path}  label {int(torch.as_tensor(label).flatten()[0])}'
