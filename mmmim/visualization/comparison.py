"""What several trained models of one dense task say about the same held-out images, beside the truth."""
from typing import Any, Dict, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, TRANSFORMS
from mmengine.structures import InstanceData
from PIL import Image
from torch import nn

from ..datasets.image_io import ImageSource
from ..engine.launch import set_up_scope
from ..evaluation.mode import evaluating
from .overlay import paint_instances, paint_mask
from .panel import Panel
from .reconstruction import short_name

TILE = 192  # small images are enlarged by a whole factor before labels are drawn, which would cover them otherwise
IGNORED = 255


def comparison_panel(cfg: Config, models: Dict[str, nn.Module], count: int = 6, score: float = 0.3,
                     notes: Optional[Dict[str, Any]] = None) -> Panel:
    """A row for each image: the image, the truth, and the prediction of each model.

    Args:
        cfg: Of the models; its validation set gives images and truth.
        models: By the title of their column, in evaluation mode.
        count: How many images, at equal distances in the set.
        score: Detected instances of a lower score are left out.
        notes: What else the panel should carry; the class names are added.

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
        image, factor = _enlarged(np.ascontiguousarray(ImageSource(path, 3).read()))
        rows.append([image, _truth(image, dataset.get_data_info(index), factor),
                     *(_prediction(image, model, sample, factor, score) for model in models.values())])
        names.append(short_name(path))
    classes = list(dataset.metainfo.get('classes') or ())
    return Panel(rows, ['image', 'truth', *models], names, dict(notes or {}, classes=classes))


def _enlarged(image: np.ndarray) -> Tuple[np.ndarray, int]:
    factor = max(1, round(TILE / max(image.shape[:2])))
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)), factor


def _truth(image: np.ndarray, info: dict, factor: int) -> np.ndarray:
    """As the toolbox loads it, whether or not the test pipeline does."""
    if 'instances' in info:
        info['ori_shape'] = (image.shape[0] // factor, image.shape[1] // factor)
        truth = TRANSFORMS.build(dict(type='LoadAnnotations', with_bbox=True, with_mask=True))(info)
        labels = torch.from_numpy(truth['gt_bboxes_labels'])
        return _paint_things(image, InstanceData(bboxes=truth['gt_bboxes'], masks=truth['gt_masks'], labels=labels),
                             factor)
    if info.get('seg_map_path'):
        truth = TRANSFORMS.build(dict(type='LoadAnnotations'))(info)
        return _paint_classes(image, torch.from_numpy(truth['gt_seg_map'])[None], factor)
    raise ValueError(f'{info["img_path"]} has neither a mask nor instances')


def _prediction(image: np.ndarray, model: nn.Module, sample: dict, factor: int, score: float) -> np.ndarray:
    with evaluating(model):
        result = model.test_step(pseudo_collate([sample]))[0].cpu()
    if 'pred_sem_seg' in result:
        return _paint_classes(image, result.pred_sem_seg.data, factor)
    instances = result.pred_instances
    return _paint_things(image, instances[instances.scores >= score], factor)


def _paint_classes(image: np.ndarray, labels: torch.Tensor, factor: int) -> np.ndarray:
    """``labels [1, h, w]`` over ``image [factor * h, factor * w, 3]``."""
    return paint_mask(image, _repeat(labels.squeeze(0).numpy(), factor), IGNORED)


def _paint_things(image: np.ndarray, instances: InstanceData, factor: int) -> np.ndarray:
    boxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
    scaled = InstanceData(labels=instances.labels, bboxes=boxes * factor)
    if 'masks' in instances:
        masks = instances.masks
        masks = masks.to_ndarray() if hasattr(masks, 'to_ndarray') else masks.numpy()
        scaled.masks = torch.from_numpy(_repeat(masks.astype(bool), factor))
    return paint_instances(image, scaled)


def _repeat(labels: np.ndarray, factor: int) -> np.ndarray:
    """The last two axes, each element ``factor`` times."""
    return labels.repeat(factor, -2).repeat(factor, -1)
