"""What is exported, of whatever kind: its graph, its inputs, and the model that it is compared with."""

import os.path as osp
from contextlib import suppress
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import Tensor, nn

from ...config.classification import name_of
from ...config.prepare import set_up_scope, settle
from ...datasets.io.tar_files import image_exists
from ...engine.hooks.run_record import read_record
from ...models.networks import origin_licence
from ...models.patches import Size, to_2tuple
from ...registry import DATASETS
from ..finetuning.request import Results
from ..frozen import Frozen
from ..label_split import FILE_NAME, LabelSplit
from ..trained import CLASSIFICATION, SEGMENTATION, Trained, open_trained
from .graphs import ClassifierGraph, SegmentorGraph, is_multi_label, takes_bgr
from .pixels import Pixels, of_pipeline

FEATURES = 'features'
MOST_CLASSES = 256  # of an index mask in uint8
ENOUGH = 5  # images that a graph is checked with
SAMPLE = dict(sample_idx=0, img_id=0, seed=0, replaced=[])  # what pipelines want beside an image


class Subject(NamedTuple):
    """A model to export.

    Attributes:
        task: ``'features'``, ``'classification'`` or ``'segmentation'``.
        graph: uint8 or float32 ``[B, C, H, W]`` with red first, to one tensor for each of ``outputs``.
        outputs: What each is, by its name.
        pixels: How a picture becomes the input.
        read: ``dict(img_path)`` or ``dict(img)`` to the pipeline's own ``[C, h, w]``, in its own order of colours.
        reference: A batch of these, through the model as it predicts, to its outputs.
        size: (height, width) of images to trace with.
        free: Whether height and width of the input may change.
        classes: Names; None: without any.
        multi_label: Whether each class has a probability of its own.
        licence: Of the weights that it began with.
    """

    task: str
    graph: nn.Module
    outputs: Dict[str, str]
    pixels: Pixels
    read: Callable[[Dict[str, Any]], Tensor]
    reference: Callable[[Tensor], List[Tensor]]
    size: Tuple[int, int]
    free: bool = False
    classes: Optional[List[str]] = None
    multi_label: bool = False
    licence: str = 'unknown'

    def batch(self, images: List[Dict[str, Any]]) -> List[Tensor]:
        """Pictures of one size each, stacked, in the pipeline's order of colours; without those that are too small."""
        read = [self.read(dict(SAMPLE, **image)) for image in images]
        least = self.pixels.least
        shapes = sorted(
            {tuple(image.shape) for image in read if image.shape[1] >= least[0] and image.shape[2] >= least[1]}
        )
        return [torch.stack([image for image in read if tuple(image.shape) == shape]) for shape in shapes]


def of_encoder(frozen: Frozen) -> Subject:
    """Pooled features of a frozen network's layer.

    Args:
        frozen: On the CPU.
    """
    pixels = of_pipeline(frozen.pipeline)
    run = Compose(frozen.pipeline)
    what = f'{"output" if frozen.layer is None else f"layer {frozen.layer}"}, pooled: {frozen.width} values an image'

    def reference(batch: Tensor) -> List[Tensor]:
        return frozen.features(dict(inputs=batch), [frozen.layer], frozen.pool)

    return Subject(
        FEATURES,
        frozen.as_module(),
        dict(features=what),
        pixels,
        lambda sample: run(sample)['inputs'],
        reference,
        frozen.img_size,
        licence=frozen.licence,
    )


def of_trained(trained: Trained, image_size: Optional[Size] = None, images: Sequence[str] = ()) -> Subject:
    """A classifier's probabilities, or a segmentor's masks.

    Args:
        trained: Whose config is changed.
        image_size: Of a segmentor: a fixed input.
        images: Files whose one shape is that of a segmentor whose input cannot be free.

    Raises:
        ValueError: A detector, landmarks, or a model, a pipeline or a size that is not exported.
    """
    if trained.task not in (CLASSIFICATION, SEGMENTATION):
        raise ValueError(_not_exported(trained.task))
    backbone = (trained.cfg.get('model') or {}).get('backbone') or {}
    if 'compiled' in backbone:
        backbone.compiled = False
    if image_size is not None and trained.task == SEGMENTATION:
        _resize_to(trained.cfg, to_2tuple(image_size))
    model = trained.build().cpu().requires_grad_(False)
    _check_preprocessor(model.data_preprocessor)
    steps = Compose([step for step in trained.cfg.test_dataloader.dataset.pipeline if not _reads_labels(name_of(step))])
    pixels, make = of_pipeline(steps.transforms), _classifier if trained.task == CLASSIFICATION else _segmentor
    if trained.task == SEGMENTATION and pixels.size is None and not may_be_free(model, pixels):
        shapes = {tuple(steps(dict(SAMPLE, img_path=path))['inputs'].shape[1:]) for path in images}
        return of_trained(open_trained(trained.checkpoint, trained.config), _the_one(shapes))
    subject = make(model, pixels, lambda sample: steps(sample)['inputs'], trained.classes)
    if image_size is not None and to_2tuple(image_size) != subject.size:
        raise ValueError(
            f'image_size={image_size!r}: this classifier was trained with {subject.size[0]} x {subject.size[1]} '
            'pixels, and has no other size'
        )
    return subject._replace(licence=_licence(trained))


def _classifier(model: Any, pixels: Pixels, read: Callable, classes: Optional[List[str]]) -> Subject:
    several = is_multi_label(model)

    def reference(batch: Tensor) -> List[Tensor]:
        found = model.test_step(dict(inputs=batch, data_samples=None))
        return [torch.stack([sample.pred_score for sample in found])]

    assert pixels.size is not None, 'a classifier has images of one size'
    graph = ClassifierGraph(model, takes_bgr(model.data_preprocessor, pixels.bgr))
    what = 'of each class, independent of the others' if several else 'of each class; they sum to 1'
    outputs = dict(probabilities=f'probability {what}')
    return Subject(
        CLASSIFICATION, graph, outputs, pixels, read, reference, pixels.size, classes=classes, multi_label=several
    )


def _segmentor(model: Any, pixels: Pixels, read: Callable, classes: Optional[List[str]]) -> Subject:
    count = model.decode_head.out_channels
    if not 2 <= count <= MOST_CLASSES:
        raise ValueError(f'the segmentor has {count} classes; 2 to {MOST_CLASSES} are exported')

    def reference(batch: Tensor) -> List[Tensor]:
        images = model.data_preprocessor(dict(inputs=list(batch)), False)['inputs']
        meta = dict(ori_shape=tuple(batch.shape[2:]), img_shape=tuple(batch.shape[2:]))
        with torch.no_grad():
            probabilities = model.inference(images, [dict(meta) for _ in batch]).softmax(1)
        return [probabilities.argmax(1), probabilities]

    graph = SegmentorGraph(model, takes_bgr(model.data_preprocessor, pixels.bgr))
    if pixels.size is None and graph.window is not None:
        pixels = pixels._replace(least=graph.window)
    elif pixels.size is not None and graph.window is not None:  # a window is never larger than the image
        graph.window = (min(graph.window[0], pixels.size[0]), min(graph.window[1], pixels.size[1]))
    size = pixels.size or (pixels.least[0] + 1, pixels.least[1] + 2)
    outputs = dict(mask='number of the likeliest class', probabilities='of each class, which sum to 1')
    return Subject(SEGMENTATION, graph, outputs, pixels, read, reference, size, pixels.size is None, classes)


def may_be_free(model: Any, pixels: Pixels) -> bool:
    """Whether height and width of a segmentor's input can change: images of shapes up to 2 : 1 hold a window."""
    longer, shorter = pixels.fit
    window = max(model.test_cfg.crop_size) if model.test_cfg.mode == 'slide' else None
    return window is not None and shorter >= window and longer >= 2 * window


def _the_one(shapes: Set[Tuple[int, ...]]) -> Tuple[int, int]:
    """The (height, width) of all images. Raises ValueError where it is not one."""
    if len(shapes) == 1:
        return to_2tuple(next(iter(shapes)))
    found = ', '.join(f'{height} x {width}' for height, width in sorted(shapes)[:4])
    raise ValueError(
        'this segmentor sees an image as a whole, and is exported for one size: give image_size=(height, width). After '
        f'they are resized its images have {f"different ones: {found}" if found else "one that no image here tells"}'
    )


def _not_exported(task: str) -> str:
    if task == 'detection':
        return (
            'a detector is not exported: Mask R-CNN looks at its own boxes to decide how it goes on (mmdet: `if not '
            'valid_mask.all()`), which torch.export does not record. Use it by mmmim.load(RUN).predict(...) or `mmmim '
            'predict`; the encoder that it began with is exported by itself'
        )
    return f'a model of {task} is not exported; classifiers, segmentors and encoders are'


def _check_preprocessor(preprocessor: Any) -> None:
    """Raises ValueError where images are padded on the way, which a graph would have to know."""
    if getattr(preprocessor, 'pad_size_divisor', 1) > 1 or getattr(preprocessor, 'test_cfg', None):
        raise ValueError(
            'model.data_preprocessor pads test images (pad_size_divisor, test_cfg), which an exported model does not: '
            'leave that out of the config'
        )


def _resize_to(cfg: Config, size: Tuple[int, int]) -> None:
    """Let the one ``Resize`` of the test pipeline bring images to (height, width)."""
    found = [step for step in cfg.test_dataloader.dataset.pipeline if name_of(step) == 'Resize']
    if len(found) != 1:
        raise ValueError(f'image_size={size}: the test pipeline has {len(found)} Resize, and one could be set')
    found[0].update(scale=size[::-1], keep_ratio=False)
    cfg['scale'] = None  # which settling would carry to that transform


def _reads_labels(name: str) -> bool:
    return name.startswith('Load') and name.endswith('Annotations')


def _licence(trained: Trained) -> str:
    """Of what it began with: ``finetune.json``, or what the config notes."""
    results = Results.read(osp.dirname(osp.abspath(trained.checkpoint)))
    stated = results.start.get('licence') if results is not None else origin_licence(trained.cfg)
    return 'unknown' if stated is None else stated


# ------------------------------------------------------------------------------------------------------- its own images


def own_images(model: str, config: Optional[str] = None) -> List[str]:
    """Up to :data:`ENOUGH` images that a run or a trained model knows of and that are here: those that report, of
    ``labels.json``, else of the test data set, else of the training data set."""
    folder = model if osp.isdir(model) else osp.dirname(osp.abspath(model))
    with suppress(OSError, ValueError):
        if osp.isfile(osp.join(folder, FILE_NAME)):
            found = [file for file, _ in LabelSplit.read(folder).report if image_exists(file)]
            return _spread(found)
    named = read_record(folder).get('config')
    path = config or (osp.join(folder, osp.basename(named)) if isinstance(named, str) else '')
    if not osp.isfile(path):
        return []
    with suppress(Exception):  # configs are programs, and their data may be anywhere
        return images_of(Config.fromfile(path))
    return []


def images_of(cfg: Config) -> List[str]:
    """Of the data sets of a config, where they are on this machine."""
    set_up_scope(cfg)
    settle(cfg, with_data=False)  # classes of data sets
    for place in ('test_dataloader', 'train_dataloader'):
        with suppress(Exception):  # data that is not here
            dataset = DATASETS.build(dict(cfg[place].dataset, pipeline=[]))
            paths = [dataset.get_data_info(int(i)).get('img_path') for i in _spread(list(range(len(dataset))))]
            if paths and all(isinstance(path, str) and image_exists(path) for path in paths):
                return [str(path) for path in paths]
    return []


def _spread(items: List[Any]) -> List[Any]:
    count = min(ENOUGH, len(items))
    return [items[(2 * k + 1) * len(items) // (2 * count)] for k in range(count)]


def drawn_images(subject: Subject) -> List[Dict[str, np.ndarray]]:
    """Smooth colours with noise, where there are no images."""
    rng = np.random.default_rng(0)
    height, width = (2 * side for side in subject.size)
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    images = []
    for _ in range(ENOUGH):
        phase = rng.uniform(0, 6, (3, subject.pixels.channels))
        waves = np.sin(rows[..., None] * 9 * phase[0] + columns[..., None] * 9 * phase[1] + phase[2])
        pixels = 127 + 90 * waves + rng.normal(0, 12, waves.shape)
        images.append(dict(img=pixels.clip(0, 255).astype(np.uint8)))
    return images
