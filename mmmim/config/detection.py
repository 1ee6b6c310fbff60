"""Derive settings of a detection config from its top-level keys."""

import os.path as osp
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, get_rank

from ..datasets.coco_file import AnnotationError, check_classes, examine
from .classification import name_of, set_pretrained
from .images import LOADERS
from .parts import datasets_below, map_widths, pipeline_steps
from .schedule import our_task


def settle_detector(cfg: Config, with_data: bool = True) -> None:
    """Apply the top-level keys of a detection config.

    Does nothing unless the model is mmdet's ``MaskRCNN`` or ``CascadeRCNN`` with our backbone. Keys, all optional:

    - ``pretrained``: checkpoint that initialises the backbone, of any naming scheme; None: random initialisation,
      unless ``model.backbone.init_cfg.checkpoint`` names one.
    - ``train_ann``, ``val_ann``, ``train_images``, ``val_images``: annotation files and image folders, relative to
      ``data_root``, for data sets that do not state their own. Testing uses validation's, and the metric reads the
      annotation file of its data set.
    - ``skip_broken``: whether data sets leave out objects whose outline cannot be used, unless they say it themselves;
      otherwise such an outline is an error. A model without a mask head needs no outlines.
    - ``classes`` (names, in the order of the annotation file; None: all in it) and ``num_classes`` (None: as many): for
      data sets and heads.
    - ``image_size`` (pixels): the side of the square to which an image is resized, cropped and padded, and the image
      size of the backbone's position embedding.
    - ``scale`` (long, short side): to which an image is resized in testing, if there is no such square.
    - ``milestones``: epochs after which the learning rate is divided by ten.

    The widths of neck and heads follow from the backbone where they are not given.

    Args:
        cfg: The config, which is changed.
        with_data: Whether the annotations are read (by rank 0) and checked against the classes. Otherwise only if the
            config does not state the number of classes, as the one in a run's work dir does.

    Raises:
        ValueError: Keys that contradict each other.
        AnnotationError: Annotations that cannot be used.
    """
    model = cfg.get('model') or {}
    backbone = model.get('backbone') or {}
    if our_task(cfg) != 'detector':
        return
    set_pretrained(cfg, backbone)
    _set_widths(model, map_widths(backbone))
    _set_files(cfg)
    _set_readers(cfg)
    if 'classes' in cfg:
        _set_classes(cfg, with_data)
    if cfg.get('image_size') is not None:
        _set_size(cfg, cfg.image_size)
    if cfg.get('scale') is not None:
        _set_steps(cfg, ('Resize',), scale=tuple(cfg.scale))
    if cfg.get('milestones') is not None and cfg.get('max_epochs') is not None:  # without a length there is no training
        _set_milestones(cfg, list(cfg.milestones), cfg.max_epochs)


def _set_widths(model: Any, widths: Tuple[int, ...]) -> None:
    neck = model.get('neck') or []
    for part in neck if isinstance(neck, (list, tuple)) else [neck]:
        if name_of(part) in ('SimplePyramid', 'MultiScalePyramid'):
            part.setdefault('in_dim', widths[-1])
        elif name_of(part) == 'FPN':
            part.setdefault('in_channels', list(widths))


def _sets(cfg: Config, *loaders: str) -> List[Any]:
    """The data sets of loaders with annotations in COCO's format, wrapped ones included."""
    return [
        dataset
        for loader in loaders
        for dataset in datasets_below((cfg.get(loader) or {}).get('dataset'))
        if name_of(dataset) == 'CocoDataset'
    ]


def _path(dataset: Any) -> str:
    return osp.join(dataset.get('data_root') or '', dataset.get('ann_file') or '')


def _set_files(cfg: Config) -> None:
    """Fill in the paths that data sets do not state; the keys are then removed from the config of the run."""
    for split, loaders in (('train', ['train_dataloader']), ('val', ['val_dataloader', 'test_dataloader'])):
        annotations, images = cfg.pop(f'{split}_ann', None), cfg.pop(f'{split}_images', None)
        for dataset in _sets(cfg, *loaders):
            if annotations is not None:
                dataset.setdefault('ann_file', annotations)
            if images is not None:
                dataset.setdefault('data_prefix', dict(img=images))
    for kind in ('val', 'test'):
        found = _sets(cfg, f'{kind}_dataloader')
        for evaluator in _evaluators(cfg, kind):
            if name_of(evaluator) == 'PlainMetric' and name_of(evaluator.metric) == 'CocoMetric' and found:
                evaluator.metric.ann_file = _path(found[0])


def _evaluators(cfg: Config, kind: str) -> List[Any]:
    evaluators = cfg.get(f'{kind}_evaluator') or []
    return list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]


def _metrics(cfg: Config, kind: str) -> List[Any]:
    """The metrics of validation or of the test that read annotations in COCO's format."""
    found = [e.metric if name_of(e) == 'PlainMetric' else e for e in _evaluators(cfg, kind)]
    return [metric for metric in found if name_of(metric) == 'CocoMetric']


def _set_readers(cfg: Config) -> None:
    """Let mmdet's data sets and metric be ours, which stand any ids and outlines."""
    skip_broken = cfg.pop('skip_broken', None)
    for dataset in _sets(cfg, *LOADERS):
        dataset.type = 'mmmim.CocoDataset'
        if skip_broken is not None:
            dataset.setdefault('skip_broken', skip_broken)
    for metric in (*_metrics(cfg, 'val'), *_metrics(cfg, 'test')):
        metric.type = 'mmmim.CocoMetric'


def _needs_outlines(cfg: Config, loader: str) -> bool:
    """Whether masks of a loader's data sets are learned or measured."""
    if loader == 'train_dataloader':
        return bool(cfg.model.roi_head.get('mask_head'))
    return any('segm' in metric.get('metric', 'bbox') for metric in _metrics(cfg, loader.partition('_')[0]))


def _heads(model: Any) -> List[Any]:
    parts = [model.roi_head.bbox_head, model.roi_head.get('mask_head') or []]
    return [head for part in parts for head in (part if isinstance(part, (list, tuple)) else [part])]


def _set_classes(cfg: Config, with_data: bool) -> None:
    names: Optional[Sequence[str]] = cfg.get('classes')
    count = cfg.get('num_classes')
    if names and count is not None and len(names) != count:
        raise ValueError(f'num_classes={count}, but `classes` names {len(names)}: set one of them to None, or both')
    names = list(names) if names else None
    if with_data or (names is None and count is None):
        names = _on_rank_0(lambda: _fitting_classes(cfg, names, count))
    if names:
        cfg.classes, count = names, len(names)
        for dataset in _sets(cfg, *LOADERS):
            dataset.metainfo = dict(dataset.get('metainfo') or {}, classes=names)
    cfg.num_classes = count
    for head in _heads(cfg.model):
        head.num_classes = count


def _fitting_classes(cfg: Config, names: Optional[List[str]], count: Optional[int]) -> Optional[List[str]]:
    """The class names, checked in all annotation files of the run: each must have them, with objects."""
    # without a length there is no training: tools/test.py takes it away
    loaders = ['train_dataloader'] if 'max_epochs' in cfg else []
    loaders += [loader for loader in LOADERS[1:] if cfg.get(loader)]
    found = [
        (_path(dataset), _needs_outlines(cfg, loader), bool(dataset.get('skip_broken')))
        for loader in loaders
        for dataset in _sets(cfg, loader)
    ]
    for path, outlines, skip_broken in dict.fromkeys(found):
        summary = examine(path, outlines)
        if names is None and count is not None and len(summary.classes) != count:
            raise AnnotationError(
                f'num_classes={count}, but {path} has {len(summary.classes)} classes: '
                f'{", ".join(summary.classes)}. Set num_classes=None for all, or name some: classes'
            )
        names = names or list(summary.classes)
        check_classes(summary, names, skip_broken)
    return names


def _on_rank_0(function: Callable[[], Any]) -> Any:
    """Run a function on rank 0; every rank gets its result, or its error."""
    found: List[Any] = [None, None]
    if get_rank() == 0:
        try:
            found[0] = function()
        except AnnotationError as error:
            found[1] = str(error)
    broadcast_object_list(found)
    if found[1]:
        raise AnnotationError(found[1])
    return found[0]


def _set_size(cfg: Config, size: int) -> None:
    if not isinstance(size, int) or size < 1:
        raise ValueError(f'image_size={size} must be one number of pixels: the side of a square')
    cfg.model.data_preprocessor.pad_size_divisor = size  # so every padded image is that square
    if name_of(cfg.model.backbone) != 'DenseSwin':  # which has no position table
        cfg.model.backbone.img_size = size
    _set_steps(cfg, ('Resize', 'RandomResize'), scale=(size, size))
    _set_steps(cfg, ('RandomCrop',), crop_size=(size, size))


def _set_steps(cfg: Config, kinds: Sequence[str], **values: Any) -> None:
    for step in pipeline_steps(cfg):
        if name_of(step) in kinds and all(key in step for key in values):
            step.update(values)


def _set_milestones(cfg: Config, milestones: List[int], length: int) -> None:
    """Set the milestones, which MMEngine counts from the scheduler's first epoch: in ours, after the warm-up."""
    if sorted(set(milestones)) != milestones or not all(0 < epoch < length for epoch in milestones):
        raise ValueError(f'milestones={milestones} must be growing, and below max_epochs={length}: set both')
    schedulers: List[Dict[str, Any]] = [s for s in cfg.param_scheduler if name_of(s) == 'MultiStepLR']
    for scheduler in schedulers:
        scheduler.update(milestones=milestones, begin=0)
