"""Derive settings of a segmentation config from its top-level keys."""

from typing import Any, List, Optional, Sequence, Tuple

from mmengine.config import Config

from ..models.patches import to_2tuple
from .classification import name_of, set_pretrained
from .derived import settle_derived
from .parts import datasets, map_widths, pipeline_steps
from .schedule import drop_warmup, iterations, our_task


def settle_segmentor(cfg: Config) -> None:
    """Apply the top-level keys of a segmentation config.

    Does nothing unless the model is mmseg's ``EncoderDecoder`` with our backbone. Keys, all optional:

    - ``pretrained``: checkpoint that initialises the backbone, of any naming scheme; None: random initialisation,
      unless ``model.backbone.init_cfg.checkpoint`` names one.
    - ``num_classes``, ``classes`` (their names, in order; None: their numbers), ``reduce_zero_label`` (0 means
      unlabelled and class k is stored as k + 1) and ``label_map`` (``{255: 1}``: 255 is class 1): for the heads and
      every :class:`~mmmim.datasets.MaskFolder`.
    - ``crop_size`` (pixels, an int or (height, width)): of the random crop, the backbone's position embedding, a
      batch's padding, and the sliding window in testing, whose stride is two thirds of it.
    - ``scale`` (long, short side): to which an image is resized, in testing and before training's random scale.
    - ``max_iters``, ``warmup_iters``: optimizer steps, for loop and schedules. With gradient accumulation (see
      ``max_batch_per_device``) an iteration in the log is one batch, and all lengths are multiplied.
    - ``tta``: test-time augmentation: the scales ``tta_ratios`` (times ``scale``) of each image, plain and mirrored.

    The widths of neck and heads follow from the backbone where they are not given.

    Raises:
        ValueError: Keys that contradict each other.
    """
    model = cfg.get('model') or {}
    backbone = model.get('backbone') or {}
    if our_task(cfg) != 'segmentor':
        return
    set_pretrained(cfg, backbone)
    _set_widths(model, map_widths(backbone))
    _set_classes(cfg)
    if cfg.get('crop_size') is not None:
        _set_crop(cfg, to_2tuple(cfg.crop_size))
    if cfg.get('scale') is not None:
        for step in pipeline_steps(cfg):
            if name_of(step) in ('RandomResize', 'Resize') and 'scale' in step:
                step.scale = tuple(cfg.scale)
    _set_iterations(cfg)
    _plain_test(cfg)
    if cfg.get('tta'):
        _augment_test(cfg)


def _set_widths(model: Any, widths: Tuple[int, ...]) -> None:
    if model.get('neck') is not None:
        model.neck.setdefault('in_dim', widths[-1])
    for head in _heads(model):
        index = head.get('in_index', -1)
        head.setdefault('in_channels', widths[index] if isinstance(index, int) else [widths[i] for i in index])
        if head.get('num_convs') == 0:
            head.setdefault('channels', head.in_channels)


def _heads(model: Any) -> List[Any]:
    auxiliary = model.get('auxiliary_head') or []
    return [model.decode_head, *(auxiliary if isinstance(auxiliary, (list, tuple)) else [auxiliary])]


def _set_classes(cfg: Config) -> None:
    names: Optional[Sequence[str]] = cfg.get('classes')
    count = cfg.get('num_classes')
    if names and count is not None and len(names) != count:
        raise ValueError(f'num_classes={count}, but `classes` names {len(names)}: set one of them to None, or both')
    count = len(names) if names else count if count is not None else cfg.model.decode_head.num_classes
    if count < 2:
        raise ValueError(f'num_classes={count}: what is not of the one class is a class, too: num_classes=2')
    for head in _heads(cfg.model):
        head.num_classes = count
    for dataset in datasets(cfg):
        if name_of(dataset) == 'MaskFolder':
            dataset.classes = list(names or map(str, range(count)))
            if cfg.get('reduce_zero_label') is not None:
                dataset.reduce_zero_label = cfg.reduce_zero_label
            if cfg.get('label_map'):
                dataset.label_map = dict(cfg.label_map)


def _set_crop(cfg: Config, size: Tuple[int, int]) -> None:
    cfg.model.data_preprocessor.size = size
    if name_of(cfg.model.backbone) != 'DenseSwin':  # which has no position table
        cfg.model.backbone.img_size = size
    if cfg.model.test_cfg.get('mode') == 'slide':
        # 341 of 512, as in BEiT's code
        cfg.model.test_cfg.update(crop_size=size, stride=tuple(max(2 * side // 3, 1) for side in size))
    for step in pipeline_steps(cfg):
        if name_of(step) == 'RandomCrop':
            step.crop_size = size


def _set_iterations(cfg: Config) -> None:
    """Convert lengths from optimizer steps to batches, which MMEngine's loop counts."""
    accumulation = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if cfg.get('max_iters') is None:
        if accumulation > 1:
            raise ValueError(
                f'{accumulation} batches are accumulated for one step, for which the config has to state '
                'its length as max_iters (and warmup_iters), in steps'
            )
        return
    settle_derived(cfg, iterations(cfg))
    if not cfg.get('warmup_iters'):
        drop_warmup(cfg)
    # in a work dir's copy of the config the intervals are in batches already, with the accumulation set there
    before = (cfg.get('settled') or {}).get('batches_per_step', 1)
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint')
    for part, key in ((cfg.get('train_cfg'), 'val_interval'), (checkpoint, 'interval')):
        if part and part.get(key, -1) > 0:
            part[key] = part[key] // before * accumulation
    if accumulation > 1 or before > 1:
        cfg.settled = dict(cfg.get('settled') or {}, batches_per_step=accumulation)


def _plain_test(cfg: Config) -> None:
    """Remove the test-time augmentation from a work dir's copy of a config."""
    if name_of(cfg.get('test_cfg') or {}) != 'AugmentedTestLoop' or cfg.get('scale') is None:
        return
    dataset = cfg.test_dataloader.dataset
    *before, augmented = dataset.pipeline
    sizes, _, *after = augmented.transforms
    dataset.pipeline = [*before, dict(sizes[0], scale=tuple(cfg.scale)), *(step for branch in after for step in branch)]
    cfg.test_cfg = dict()


def _augment_test(cfg: Config) -> None:
    """Test-time augmentation: resize to each ratio, plain and mirrored, and average the predictions."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    places = [i for i, step in enumerate(pipeline) if name_of(step) == 'Resize']
    if len(places) != 1:
        raise ValueError(f'tta=True replaces the one Resize of the test pipeline, which has {len(places)}')
    before, resize, after = pipeline[: places[0]], pipeline[places[0]], pipeline[places[0] + 1 :]
    sizes = [dict(resize, scale=tuple(int(side * ratio) for side in resize.scale)) for ratio in cfg.tta_ratios]
    flips = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
    cfg.test_dataloader.dataset.pipeline = [
        *before,
        dict(type='TestTimeAug', transforms=[sizes, flips, *([step] for step in after)]),
    ]
    cfg.test_cfg = dict(type='mmmim.AugmentedTestLoop', model=dict(type='SegTTAModel'))
