"""A trained classifier, segmentor or detector as an object that predicts."""

from contextlib import contextmanager
from functools import cached_property
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ...config.classification import ENCODERS, name_of
from ...config.images import stated_images
from ...datasets.io.image_io import ImageReadError, ImageSource
from ...engine.optim.autocast import has_fast_bf16
from ...visualization.overlay import name_of_class
from ...visualization.predictions import LABELS
from ..frozen import Frozen, Picture, as_pictures, picture_input
from ..trained import CLASSIFICATION, DETECTION, SEGMENTATION, Trained
from .results import Classification, Detection, Result, Segmentation
from .tiles import Tiles, by_tiles, probabilities

TASKS = (CLASSIFICATION, SEGMENTATION, DETECTION)
THRESHOLD = 0.5
# of a frozen network, beside `embed`
OF_ENCODER = ('depth', 'features', 'img_size', 'layer', 'licence', 'pipeline', 'pool', 'precision', 'width')
OF_FOREIGN = dict(depth=0, layer=None, pool=None)  # the same of a backbone of another project


class Options(NamedTuple):
    """How answers are read.

    Attributes:
        top: Classes of a classification.
        threshold: Least probability of a class of a multi-label model, least score of an object.
        tiles: Of a segmentation; None: an image at once.
    """

    top: int = 5
    threshold: float = THRESHOLD
    tiles: Optional[Tiles] = None


class Predictor:
    """A trained model and its preprocessing; made by :func:`mmmim.load` of a folder or a config of a task.

    What a frozen network has (:class:`~mmmim.apis.frozen.Frozen`: ``embed``, ``features``, ``width`` ...) is that of
    its encoder. A classifier with a backbone of another project embeds by what its head sees: it has a ``width``, and
    neither layers nor poolings (``depth`` is 0, ``layer`` and ``pool`` are None).

    Args:
        trained: From :func:`~mmmim.apis.trained.open_trained`.
        device: Such as ``'cuda:1'``; None: a GPU if there is one.
        encoder: Opens its encoder; called when that is first asked for.

    Attributes:
        task: ``'classification'``, ``'segmentation'`` or ``'detection'``.
        multi_label: Whether an image may have several classes, or none.
        channels: Of an image.
        value_range: Stored values that become 0 and 255 in images of more than 8 bits; None: by their type.
    """

    def __init__(
        self, trained: Trained, device: Optional[str] = None, encoder: Optional[Callable[[], Frozen]] = None
    ) -> None:
        self.trained, self.task, self._encoder = trained, trained.task, encoder
        self._device = device
        if self.task not in TASKS:
            raise ValueError(
                f'{trained.config} is of {self.task}: predictions are those of {", ".join(TASKS)} (landmarks are drawn '
                'by mmmim predict CONFIG CHECKPOINT IMAGE ...)'
            )
        stated = stated_images(trained.cfg)
        self.channels, self.value_range = stated.get('channels', 3), stated.get('value_range')
        kind = str(((trained.cfg.get('model') or {}).get('head') or {}).get('type'))
        self.multi_label = self.task == CLASSIFICATION and ('MultiLabel' in kind or 'CSRA' in kind)

    def __repr__(self) -> str:
        return f'Predictor({self.trained.checkpoint!r}, task={self.task!r}, classes={len(self.classes)})'

    def __getattr__(self, name: str) -> Any:
        if name not in OF_ENCODER:
            raise AttributeError(f'{type(self).__name__!r} has no attribute {name!r}')
        if self.foreign is None:
            return getattr(self.encoder, name)
        if name == 'width':
            return self.embed(np.zeros((32, 32, self.channels), np.uint8)).shape[1]
        if name not in OF_FOREIGN:
            raise AttributeError(f'{name!r} is of encoders of mmmim, and the backbone is a {self.foreign}')
        return OF_FOREIGN[name]

    @property
    def foreign(self) -> Optional[str]:
        """The type of the backbone of a classifier that is another project's; else None."""
        kind = name_of(self.trained.cfg.model.backbone) if self.task == CLASSIFICATION else None
        return None if kind in ENCODERS else kind

    def embed(self, images: Union[Picture, Iterable[Picture]], batch_size: int = 64) -> np.ndarray:
        """Features of pictures, ``[N, D]`` float32: of its encoder, as :meth:`~mmmim.apis.frozen.Frozen.embed`; of a
        classifier with a backbone of another project what its head sees."""
        if self.foreign is None:
            return self.encoder.embed(images, batch_size)
        pictures, _ = as_pictures(images)
        rows = []
        for start in range(0, len(pictures), batch_size):
            samples = [
                self.prepare(picture, start + i) for i, picture in enumerate(pictures[start : start + batch_size])
            ]
            with self._computing():
                batch = self.model.data_preprocessor(pseudo_collate(samples), False)
                rows.append(self.model.extract_feat(batch['inputs'])[-1].float().cpu())
        return torch.cat(rows).numpy()

    @cached_property
    def encoder(self) -> Frozen:
        """Its encoder, frozen.

        Raises:
            EncoderMismatchError, ValueError: It is none of this project's.
        """
        if self._encoder is None:
            raise ValueError('the encoder is not known: open the model with mmmim.load')
        return self._encoder()

    @cached_property
    def model(self) -> nn.Module:
        """The whole model in evaluation mode.

        Raises:
            RuntimeError: The weights are another model's.
        """
        cfg = self.trained.cfg
        if cfg.get('tta'):  # an image is predicted once
            cfg.tta = False
        if self.task == DETECTION and not cfg.get('classes') and self.classes:
            cfg.classes = self.classes  # else the annotations are looked for
        model = self.trained.build()
        return model if self._device is None else model.to(self._device)

    @cached_property
    def classes(self) -> List[str]:
        """Names of the classes, in the order of the outputs; their numbers where no names are known."""
        names = self.trained.classes or self._stored_names()
        return list(map(str, names or range(_count(self.trained.cfg))))

    def _stored_names(self) -> Sequence[str]:
        """The names that MMEngine stores in a checkpoint."""
        stored = CheckpointLoader.load_checkpoint(self.trained.checkpoint, map_location='cpu')
        meta = (stored.get('meta') or {}).get('dataset_meta') or {}
        return meta.get('classes') or ()

    @cached_property
    def _steps(self) -> List[Any]:
        """The test pipeline of the settled config, without annotations."""
        self.model  # noqa: B018  (building it settles the config)
        steps = self.trained.cfg.test_dataloader.dataset.pipeline
        return [step for step in steps if step['type'].rpartition('.')[2] not in LABELS]

    @cached_property
    def _of_files(self) -> Compose:
        return self._composed(self._steps)

    @cached_property
    def _of_arrays(self) -> Compose:
        """The same where the pixels are given: readers of files become ours, which takes both."""
        reader = dict(type='mmmim.LoadImage', decode='whole', channels=self.channels, value_range=self.value_range)
        steps = [reader if step['type'].rpartition('.')[2] == 'LoadImageFromFile' else step for step in self._steps]
        return self._composed(steps)

    def _composed(self, steps: List[Any]) -> Compose:
        with DefaultScope.overwrite_default_scope(self.trained.cfg.default_scope):  # another model may have set it
            return Compose(steps)

    def prepare(self, picture: Picture, index: int = 0) -> Dict[str, Any]:
        """A picture as the model takes it: ``dict(inputs, data_samples)``.

        Raises:
            ImageReadError: It cannot be read.
            ValueError: It is no picture.
        """
        results = picture_input(picture, index, self.channels, self.value_range)
        pipeline = self._of_arrays if 'img' in results else self._of_files
        try:
            return pipeline(dict(results, img_id=index))
        except ImageReadError:
            raise
        except (OSError, AttributeError, SyntaxError) as error:  # readers of the toolboxes raise many kinds
            raise ImageReadError(
                str(results.get('img_path', f'picture {index}')), str(error) or type(error).__name__
            ) from error

    def predict(
        self,
        images: Union[Picture, Iterable[Picture]],
        *,
        top: int = 5,
        threshold: float = THRESHOLD,
        tile: Optional[int] = None,
        overlap: Optional[int] = None,
        batch_size: int = 16,
    ) -> Union[Result, List[Result]]:
        """What the model says of pictures.

        Args:
            images: A path, a PIL image, an array ``[H, W, C]`` or ``[H, W]``; or several of these, also
                ``[N, H, W, C]``. They go through the test pipeline of the model's config.
            top: So many classes of a classification.
            threshold: Least probability of a class of a multi-label model, least score of an object.
            tile, overlap: Segmentation of large images by squares of so many pixels that overlap by so many (a quarter
                of them), whose logits are averaged; an image that fits into one is taken whole.
            batch_size: Pictures at once; images of different sizes are segmented one by one.

        Returns:
            A :class:`~mmmim.apis.predicting.results.Classification`,
            :class:`~mmmim.apis.predicting.results.Segmentation` or
            :class:`~mmmim.apis.predicting.results.Detection`; a list of them for several pictures.

        Raises:
            ImageReadError: A picture cannot be read.
            ValueError: There is none, something else than a picture, or an option that cannot be.
            RuntimeError: The weights are another model's.
        """
        options = self.options(top, threshold, tile, overlap)
        if batch_size < 1:
            raise ValueError(f'batch_size={batch_size} must be at least 1')
        pictures, single = as_pictures(images)
        found: List[Result] = []
        for start in range(0, len(pictures), batch_size):
            part = pictures[start : start + batch_size]
            if options.tiles is not None:
                found += [self.by_tiles(picture, options.tiles, start + i) for i, picture in enumerate(part)]
            else:
                found += self.results([self.prepare(picture, start + i) for i, picture in enumerate(part)], options)
        return found[0] if single else found

    def options(
        self, top: int = 5, threshold: float = THRESHOLD, tile: Optional[int] = None, overlap: Optional[int] = None
    ) -> Options:
        """Checked. Raises ValueError."""
        if top < 1:
            raise ValueError(f'top={top} must be at least 1')
        if not 0 <= threshold <= 1:
            raise ValueError(f'threshold={threshold} must lie in 0..1')
        if tile is not None and self.task != SEGMENTATION:
            raise ValueError(f'tile={tile} is for segmentation, and this model is of {self.task}')
        if tile is None and overlap is not None:
            raise ValueError(f'overlap={overlap} is of tiles: give tile, their side in pixels, too')
        return Options(top, threshold, None if tile is None else Tiles.of(tile, overlap))

    def results(self, samples: Sequence[Dict[str, Any]], options: Options = Options()) -> List[Result]:
        """Of prepared pictures, in batches of equal size where the model needs that."""
        found: List[Result] = []
        for batch in _batches(samples) if self.task == SEGMENTATION else [samples]:
            found += [self._read(answer, options) for answer in self._answers(batch)]
        return found

    def by_tiles(self, picture: Picture, tiles: Tiles, index: int = 0) -> Segmentation:
        """The classes of a large image; one that fits into a tile is taken whole."""
        results = picture_input(picture, index, self.channels, self.value_range)
        source = ImageSource(results.get('img', results.get('img_path')), self.channels, self.value_range)
        if max(source.size) <= tiles.size:
            return self.results([self.prepare(picture, index)])[0]  # type: ignore[return-value]
        mask, confidence = by_tiles(
            lambda tile: self._logits(self._answers([self.prepare(tile, index)])[0]), source.read(), tiles
        )
        return self._segmentation(mask, confidence)

    def _answers(self, samples: Sequence[Dict[str, Any]]) -> List[Any]:
        """The toolbox's own results of a batch."""
        with self._computing():
            return self.model.test_step(pseudo_collate(samples))

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Without gradients, in bf16 on GPUs that have it."""
        fast = next(self.model.parameters()).device.type == 'cuda' and has_fast_bf16('cuda')
        with torch.no_grad(), torch.autocast('cuda', torch.bfloat16, enabled=fast):
            yield

    def _logits(self, answer: Any) -> Tensor:
        """``[K, H, W]`` at the image's own size. Of a model with one output, mmseg gives a probability and compares it
        with a threshold of its own: that becomes 0."""
        found = answer.seg_logits.data.float()
        if len(found) > 1:
            return found
        least = torch.tensor(float(self.model.decode_head.threshold))
        return torch.logit(found, 1e-6) - torch.logit(least, 1e-6)

    def _read(self, answer: Any, options: Options) -> Result:
        if self.task == CLASSIFICATION:
            return self._classification(answer.pred_score.float().cpu(), options)
        if self.task == SEGMENTATION:
            labels, sure = probabilities(self._logits(answer))
            return self._segmentation(labels.cpu().numpy(), float(sure.double().mean()))
        return self._detection(answer.cpu().pred_instances).at_least(options.threshold)

    def _classification(self, scores: Tensor, options: Options) -> Classification:
        order = scores.argsort(descending=True, stable=True)
        if self.multi_label:
            order = order[scores[order] >= options.threshold]
            confidence = float(torch.maximum(scores, 1 - scores).min())
        else:
            order, confidence = order[: options.top], float(scores.max())
        labels = order.tolist()
        return Classification([self.class_name(label) for label in labels], scores[order].tolist(), labels, confidence)

    def _segmentation(self, mask: np.ndarray, confidence: float) -> Segmentation:
        mask = mask.astype(np.uint8 if len(self.classes) <= 256 else np.uint16)
        labels, counts = np.unique(mask, return_counts=True)
        order = np.argsort(-counts, kind='stable')
        areas = {self.class_name(int(labels[i])): counts[i] / mask.size for i in order}
        return Segmentation(mask, {name: float(share) for name, share in areas.items()}, confidence)

    def _detection(self, found: Any) -> Detection:
        order = found.scores.argsort(descending=True, stable=True)
        found = found[order]
        labels = found.labels.numpy()
        scores = found.scores.float().numpy()
        masks = found.masks.numpy().astype(bool) if 'masks' in found else None
        boxes = getattr(found.bboxes, 'tensor', found.bboxes).float().numpy()
        confidence = float(scores.max()) if len(scores) else 0.0
        names = [self.class_name(label) for label in labels.tolist()]
        return Detection(boxes, scores, names, labels, masks, confidence)

    def class_name(self, label: int) -> str:
        """The name of a class."""
        return name_of_class(label, self.classes)


def _batches(samples: Sequence[Dict[str, Any]]) -> List[List[Dict[str, Any]]]:
    """Neighbours whose inputs have the same shape."""
    found: List[List[Dict[str, Any]]] = []
    for sample in samples:
        if found and found[-1][0]['inputs'].shape == sample['inputs'].shape:
            found[-1].append(sample)
        else:
            found.append([sample])
    return found


def _count(cfg: Config) -> int:
    """How many classes a model has, as far as its config states it."""
    model = cfg.get('model') or {}
    heads = [model.get('head'), model.get('decode_head'), (model.get('roi_head') or {}).get('bbox_head')]
    stated = [head.get('num_classes') for head in heads if isinstance(head, dict)]
    return next((int(count) for count in [cfg.get('num_classes'), *stated] if count), 0)
