"""Predictions of several trained models of one dense task on the same held-out images, beside the ground truth."""

from typing import Any, Dict, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, TRANSFORMS
from mmengine.structures import InstanceData
from torch import nn

from ..config.prepare import set_up_scope
from ..evaluation.features import evaluating
from .overlay import enlarged, paint_instances, paint_mask
from .panel import Panel
from .predictions import read_picture
from .reconstruction import short_name

IGNORED = 255


def comparison_panel(
    cfg: Config,
    models: Dict[str, nn.Module],
    count: int = 6,
    score: float = 0.3,
    notes: Optional[Dict[str, Any]] = None,
) -> Panel:
    """A row for each image: the image, the ground truth, and the prediction of each model.

    Args:
        cfg: Config of the models; its validation set gives images and ground truth.
        models: In evaluation mode, by the title of their column.
        count: Number of images, evenly spread over the set.
        score: Detected instances of a lower score are left out.
        notes: Further notes of the panel; the class names are added.

    Returns:
        The panel; ``notes['classes']`` are the names, whose colours are :func:`~.overlay.color_of` their numbers.

    Raises:
        ValueError: The set is empty, or has neither masks nor instances.
    """
    set_up_scope(cfg)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    count = min(count, len(dataset))
    if count < 1:
        raise ValueError('there is no image to compare predictions on')
    rows, names = [], []
    for index in ((2 * k + 1) * len(dataset) // (2 * count) for k in range(count)):
        sample = dataset[index]
        path = sample['data_samples'].img_path
        image, factor = enlarged(read_picture(path, cfg))
        rows.append(
            [
                image,
                _truth(image, dataset.get_data_info(index), factor),
                *(_prediction(image, model, sample, factor, score) for model in models.values()),
            ]
        )
        names.append(short_name(path))
    classes = list(dataset.metainfo.get('classes') or ())
    return Panel(rows, ['image', 'truth', *models], names, dict(notes or {}, classes=classes))


def _truth(image: np.ndarray, info: dict, factor: int) -> np.ndarray:
    """The ground truth, loaded by the toolbox also if the test pipeline does not load it."""
    if 'instances' in info:
        info['ori_shape'] = (image.shape[0] // factor, image.shape[1] // factor)
        outlined = all(instance.get('mask') for instance in info['instances'])
        truth = TRANSFORMS.build(dict(type='LoadAnnotations', with_bbox=True, with_mask=outlined))(info)
        things = InstanceData(bboxes=truth['gt_bboxes'], labels=torch.from_numpy(truth['gt_bboxes_labels']))
        if outlined:
            things.masks = truth['gt_masks']
        return paint_instances(image, things, factor=factor)
    if info.get('seg_map_path'):
        truth = TRANSFORMS.build(dict(type='LoadAnnotations'))(info)
        return paint_mask(image, truth['gt_seg_map'], IGNORED, factor)
    raise ValueError(f'{info["img_path"]} has neither a mask nor instances in its data set to compare with')


def _prediction(image: np.ndarray, model: nn.Module, sample: dict, factor: int, score: float) -> np.ndarray:
    with evaluating(model):
        result = model.test_step(pseudo_collate([sample]))[0].cpu()
    if 'pred_sem_seg' in result:
        return paint_mask(image, result.pred_sem_seg.data.squeeze(0).numpy(), IGNORED, factor)
    instances = result.pred_instances
    return paint_instances(image, instances[instances.scores >= score], factor=factor)
