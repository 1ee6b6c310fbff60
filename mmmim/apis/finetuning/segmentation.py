"""Fine-tuning for segmentation: images and index masks to UperNet, or to a linear layer on a frozen encoder."""

import os
import os.path as osp
from collections import Counter
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from ...config.prepare import set_up_scope, settle, settle_loaders
from ...config.write import Bases, Choice
from ...datasets.io.image_io import ImageSource
from ...datasets.mask_folder import pair_lines
from ...datasets.mask_pairs import Classes, Pair, Pairs, class_names, classes_of, find_pairs
from ...engine.devices import usable_cores
from ...engine.hooks.check_data import check_masks, mask_values
from ...evaluation.dense import ClassCounts
from ...evaluation.features import evaluating
from ...progress import Progress
from ..folder_split import write_if_changed
from ..plan import Name
from ..trained import SEGMENTATION, Trained
from .dense import Job, Measured, fine_tune
from .encoders import Encoder
from .parts import Parts, divide, keep_parts, refuse_options
from .request import FineTuned, Request

LOOKED_AT = 200  # images whose size is looked at
CROP = dict(cpu=160, gpu=512)  # pixels, at most
BATCH = dict(cpu=8, gpu=16)
HOURS = dict(cpu=0.5, gpu=2.0)
MOST_EPOCHS = 160  # ADE20K's 160,000 iterations of 16 images are 127
VALIDATIONS = 5
_BASES = dict(
    small='downstream/segmentation/vit-tiny_folder_upernet', large='downstream/segmentation/vit-b_folder_upernet'
)
_LINEAR = (
    '_base_/models/seg_linear_vit',
    '_base_/datasets/seg_folder',
    '_base_/schedules/seg_adamw',
    '_base_/seg_runtime',
)


def run(request: Request) -> FineTuned:
    """Fine-tune for segmentation.

    Args:
        request: ``data`` is a folder of images with masks (:mod:`mmmim.datasets.mask_pairs`), ``labels`` the folder of
            the masks where they are elsewhere, ``test`` another folder of images with masks.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Images without masks, arguments that this task does not take, a start that it cannot use.
        MaskError: Masks that do not fit their images, or with nothing to learn.
    """
    refuse_options(request, SEGMENTATION)
    machine = 'gpu' if torch.cuda.is_available() else 'cpu'
    return fine_tune(request, SegmentationJob(request, machine), HOURS[machine])


class SegmentationJob(Job):
    """Images with masks in three parts; see :class:`.Job`.

    Args:
        request: What was asked for.
        machine: ``'cpu'`` or ``'gpu'``.
    """

    task, metric, key = SEGMENTATION, 'mIoU', 'mIoU'

    def __init__(self, request: Request, machine: str) -> None:
        self.request, self.machine = request, machine
        self.model = 'linear layer, frozen encoder' if request.quick else 'UperNet'
        self.root, self.parts, self.notes = _parts(request)
        keep_parts(osp.abspath(request.out), self.parts, _name_of(request.test))
        self.data = request.data if isinstance(request.data, str) else str(list(request.data)[0])
        # values of the masks of each image, by part: the masks are read once, and what cannot be read ends the call
        self.values = {part: self._values(part) for part in ('fit', 'selection', 'report')}
        self.classes = self._classes()
        self.counts = {
            **{part: len(getattr(self.parts, part)) for part in ('fit', 'selection', 'report')},
            'classes': len(self.classes.names),
        }
        self.side = _sides([osp.join(self.root, pair.image) for pair in self.parts.fit])

    def _values(self, part: str) -> List[List[int]]:
        pairs = getattr(self.parts, part)
        progress, found = Progress(len(pairs), f'masks of {part}', 'mask'), []
        for pair in pairs:
            info = dict(img_path=osp.join(self.root, pair.image), seg_map_path=osp.join(self.root, pair.mask))
            found.append(sorted(mask_values(info)))
            progress.update()
        return found

    def _classes(self) -> Classes:
        given, overrides = _class_names(self.request, self.root), self.request.overrides
        values = sorted({value for part in self.values.values() for image in part for value in image})
        found = classes_of(values, *(given[1], given[0]) if given else ())
        asked = {key: overrides[key] for key in ('classes', 'num_classes', 'reduce_zero_label', 'label_map')
                 if overrides.get(key) is not None}  # fmt: skip
        if not asked:
            return found
        names = list(asked.get('classes') or map(str, range(asked.get('num_classes') or len(found.names))))
        return Classes(
            names,
            asked.get('reduce_zero_label', found.reduce_zero_label if 'label_map' not in asked else False),
            {int(value): label for value, label in (asked.get('label_map') or {}).items()},
            'as asked for',
        )

    # ------------------------------------------------------------------------------------------------------- the plan

    def steps(self, epochs: int) -> int:
        return max(2, -(-epochs * len(self.parts.fit) // self.batch))

    @property
    def batch(self) -> int:
        return self.request.batch_size or BATCH[self.machine]

    @property
    def most_epochs(self) -> int:
        return max(MOST_EPOCHS, 500 * self.batch // len(self.parts.fit))

    def plan(self, encoder: Encoder, steps: Choice) -> Tuple[Bases, Dict[str, Choice]]:
        size = 'small' if encoder.small else 'large'
        interval = max(1, steps.value // VALIDATIONS)
        lengths = {
            'max_iters': steps,
            'warmup_iters': Choice(0 if steps.value < 20 else max(2, steps.value // 20), 'a twentieth'),
            'train_cfg.val_interval': Choice(interval, 'the best checkpoint by the selection images is kept'),
            'default_hooks.checkpoint.interval': Choice(interval, ''),
            'default_hooks.checkpoint.save_best': Choice(self.key, ''),
        }
        chosen = {
            **self._data(),
            **self._size(encoder),
            **(self._linear(encoder) if self.request.quick else self._upernet(encoder)),
            'total_batch_size': Choice(self.batch, 'images in a step'),
            **lengths,
        }
        base: Bases = _LINEAR if self.request.quick else _BASES[size]
        if self.request.quick:
            chosen['optim_wrapper.optimizer.lr'] = Choice(1e-3, 'of a linear layer alone')
        return base, chosen

    def _data(self) -> Dict[str, Choice]:
        workers, reads = max(1, min(usable_cores(), 16)), self.classes
        chosen = {
            'data_root': Choice(self.root, f'{self.counts["fit"]} images to fit on'),
            'classes': Choice(list(reads.names), f'{len(reads.names)} classes: {reads.reason}'),
            'num_classes': Choice(len(reads.names), ''),
            'reduce_zero_label': Choice(reads.reduce_zero_label, '0 is unlabelled' * reads.reduce_zero_label),
            'label_map': Choice(reads.label_map, 'values to classes' if reads.label_map else ''),
        }
        for loader, part in (('train', 'fit'), ('val', 'selection'), ('test', 'report')):
            pairs: List[Pair] = getattr(self.parts, part)
            path = osp.join(osp.abspath(self.request.out), 'lists', f'{part}.txt')
            write_if_changed(path, pair_lines([(pair.image, pair.mask) for pair in pairs]))
            dataset = dict(data_root=Name('data_root'), ann_file=path)
            chosen[f'{loader}_dataloader.num_workers'] = Choice(
                workers, f'{workers} cores' if loader == 'train' else ''
            )
            chosen[f'{loader}_dataloader.dataset'] = Choice(dataset, f'{len(pairs)} images: {part}')
        return chosen

    def _size(self, encoder: Encoder) -> Dict[str, Choice]:
        """Crops are squares of whole patches, no larger than an image's short side, which is a little larger."""
        short, long = self.side
        asked, most = self.request.image_size, CROP[self.machine]
        if asked and asked % encoder.patch:
            raise ValueError(
                f'image_size={asked} does not hold whole patches of {encoder.patch} pixels: use a multiple, such as '
                f'{max(1, round(asked / encoder.patch)) * encoder.patch}'
            )
        crop = max(encoder.patch, (asked or min(short, most)) // encoder.patch * encoder.patch)
        scaled = max(crop, min(short, crop * 9 // 8))
        whole = long * scaled <= 2 * crop * short  # not much larger than what was trained on
        why = f'images of {long} x {short} pixels, half of them smaller'
        limit = '; larger ones take too long without a GPU' * (self.machine == 'cpu' and short > most)
        told = 'as asked for' if asked else why + limit
        mode: Dict[str, Any] = dict(mode='whole', _delete_=True)
        if not whole:
            mode = dict(mode='slide', crop_size=(crop, crop), stride=(max(1, 2 * crop // 3),) * 2, _delete_=True)
        return {
            'crop_size': Choice(crop, told),
            'scale': Choice((4 * scaled, scaled), 'long, short side that an image is fitted into'),
            'model.test_cfg': Choice(mode, 'tested as a whole' if whole else 'tested in windows'),
        }

    def _upernet(self, encoder: Encoder) -> Dict[str, Choice]:
        values: Dict[str, Any] = dict(drop_path_rate=0.1)
        if not encoder.pyramid:
            values.update(out_indices=encoder.outputs, final_norm=False, relative_positions='separate')
        chosen = {'model.backbone': _backbone(encoder, values)}
        if not encoder.small:
            channels = max(64, min(768, encoder.width))
            chosen['model.decode_head.channels'] = Choice(channels, 'the width of the encoder, 768 at most')
        if encoder.pyramid:
            chosen['model.neck'] = Choice(None, 'the encoder has maps of four scales')
        return chosen

    def _linear(self, encoder: Encoder) -> Dict[str, Choice]:
        if encoder.pyramid or encoder.backbone['type'] == 'mmmim.DenseSwin':
            raise ValueError(f'{encoder.name} has no one map that a linear layer could read: leave out quick')
        last = dict(out_indices=(encoder.depth - 1,), final_norm=True, trainable_blocks=0, drop_path_rate=0.0)
        if encoder.backbone['type'] == 'mmmim.DenseViT':
            last['relative_positions'] = None
        return {'model.backbone': _backbone(encoder, last)}

    def check(self, cfg: Config) -> None:
        set_up_scope(cfg)
        settle(cfg)
        for loader, name in (('train', 'training'), ('val', 'selection'), ('test', 'report')):
            dataset = DATASETS.build(dict(cfg[f'{loader}_dataloader'].dataset, pipeline=[]))
            check_masks(dataset, name, cfg.model.decode_head.num_classes)

    # ----------------------------------------------------------------------------------------------------- measuring

    def measure(self, trained: Trained, model: Any, part: str) -> Measured:
        cfg = trained.cfg.copy()
        settle_loaders(cfg)
        loader = Runner.build_dataloader(dict(cfg[f'{part}_dataloader'].to_dict(), persistent_workers=False), seed=0)
        counts = ClassCounts(len(trained.classes or ()))
        progress = Progress(len(loader.dataset), dict(val='selection', test='report')[part])
        with evaluating(model):
            for batch in loader:
                for sample in model.test_step(batch):
                    predicted, true = sample.pred_sem_seg.data, sample.gt_sem_seg.data
                    counts.add(predicted.squeeze(0).cpu().numpy(), true.squeeze(0).cpu().numpy())
                    progress.update()
        scored = counts.iou()
        return Measured(scored.value, scored.interval, {'pixel accuracy': counts.accuracy()}, scored.per_class)

    def class_rows(self, per_class: List[float]) -> List[Dict[str, Any]]:
        fit, report = (self._images_by_class(part) for part in ('fit', 'report'))
        return [
            dict(name=name, images=fit[label], report=report[label], IoU=None if np.isnan(value) else value)
            for label, (name, value) in enumerate(zip(self.classes.names, per_class))
        ]

    def _images_by_class(self, part: str) -> Counter:
        reads = self.classes
        found: Counter = Counter()
        for values in self.values[part]:
            labels = [value - reads.reduce_zero_label for value in values if value != 255]
            labels = [255] * (255 in values) + labels
            found.update({reads.label_map.get(label, label) for label in labels} - {-1})
        return found

    def measuring_images(self) -> Dict[str, List[str]]:
        return {
            part: [osp.join(self.root, pair.image) for pair in getattr(self.parts, part)]
            for part in ('selection', 'report')
        }


def _backbone(encoder: Encoder, values: Dict[str, Any]) -> Choice:
    init = dict(type='Pretrained', checkpoint=None, prefix='backbone.')
    return Choice(dict(_delete_=True, **encoder.backbone, **values, init_cfg=init), encoder.describe())


def _parts(request: Request) -> Tuple[str, Parts[Pair], List[str]]:
    """The folder that paths are relative to, the parts, and notes."""
    sources = [request.data] if isinstance(request.data, (str, os.PathLike)) else list(request.data)
    if len(sources) != 1:
        raise ValueError(f'data names {len(sources)} sources: segmentation takes one folder of images with masks')
    found = find_pairs(os.fspath(sources[0]), request.labels)
    test, said, root = None, list(found.said), found.root
    if request.test is not None:
        theirs = find_pairs(request.test)
        test = _absolute(theirs)
        said += [f'{request.test}: {sentence}' for sentence in theirs.said]
    name_of = _name_of(request.test)
    parts = divide(
        found.pairs,
        lambda pair: pair.part,
        lambda pair: osp.splitext(name_of(pair))[0],
        test,
        request.share,
        lambda pair: osp.join(root, pair.image),
    )
    return root, parts, said + parts.notes


def _absolute(pairs: Pairs) -> List[Pair]:
    """The pairs of another folder than the data's, whose paths are below none of it."""
    return [Pair(osp.join(pairs.root, pair.image), osp.join(pairs.root, pair.mask), pair.part) for pair in pairs.pairs]


def _name_of(test: Optional[str]) -> Callable[[Pair], str]:
    """Names an image by its path below the folder that it was found in: draws do not change when a folder moves."""
    place = osp.abspath(osp.expanduser(test or ''))
    return lambda pair: osp.relpath(pair.image, place) if osp.isabs(pair.image) else pair.image


def _class_names(request: Request, root: str) -> Optional[Tuple[str, List[str]]]:
    """The file with the names of the classes: of the data, of the folder of the masks, or of the one that has both.

    Raises:
        ValueError: The images to report have other names.
    """
    data = request.data if isinstance(request.data, (str, os.PathLike)) else list(request.data)[0]
    folders = [osp.abspath(osp.expanduser(os.fspath(path))) for path in (data, request.labels) if path is not None]
    if all(osp.dirname(folder) == root for folder in folders):
        folders.append(root)
    given = next((found for folder in folders if (found := class_names(folder))), None)
    theirs = None if request.test is None else class_names(osp.expanduser(request.test))
    if given and theirs and given[1] != theirs[1]:
        raise ValueError(
            f'{theirs[0]} has other classes than {given[0]}: {", ".join(theirs[1][:10])}; there '
            f'{", ".join(given[1][:10])}. What is reported has to have those that are learned'
        )
    return given


def _sides(paths: List[str]) -> Tuple[int, int]:
    """The medians of the short and of the long side of some images."""
    sides = [sorted(ImageSource(path).size) for path in paths[:: max(1, len(paths) // LOOKED_AT)][:LOOKED_AT]]
    short, long = np.median(np.array(sides), axis=0)
    return int(short), int(long)
