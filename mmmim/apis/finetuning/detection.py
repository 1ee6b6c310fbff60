"""Fine-tuning for detection: annotations in COCO's format to Mask R-CNN, without masks to Faster R-CNN."""

import contextlib
import io
import json
import math
import os
import os.path as osp
from collections import Counter
from typing import Any, Dict, List, NamedTuple, Sequence, Set, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from ...config.paths import configs_folder
from ...config.prepare import set_up_scope, settle, settle_loaders
from ...config.write import Bases, Choice
from ...datasets.coco_file import AnnotationError, examine
from ...datasets.coco_parts import CocoFile, find_coco, read_coco
from ...datasets.folder_roles import TEST
from ...engine.devices import usable_cores
from ...engine.hooks.check_data import check_annotations
from ...evaluation.dense import average_precision
from ...evaluation.features import evaluating
from ...progress import Progress
from ...registry import METRICS
from ..folder_split import write_if_changed
from ..plan import Name
from ..trained import DETECTION, Trained
from .dense import Job, Measured, fine_tune
from .encoders import Encoder
from .parts import Parts, divide, keep_parts, refuse_options
from .request import FineTuned, Request

SIZE = dict(cpu=160, gpu=1024)  # pixels, at most, where none are asked for
BATCH = dict(cpu=8, gpu=16)
HOURS = dict(cpu=0.5, gpu=2.0)
MOST_EPOCHS = 100  # large-scale jitter's
VALIDATIONS = 5
SMALL_OBJECT = 16  # pixels that a side should have: four of the finest map's cells
FOUND_OBJECT = 10  # below which hardly any is found
MOST_CLASSES = 300  # with an interval: each of its resamples sums the detections of each class
_BASES = dict(
    small='downstream/detection/vit-tiny_folder_mask-rcnn', large='downstream/detection/vit-b_folder_mask-rcnn'
)


def run(request: Request) -> FineTuned:
    """Fine-tune for detection.

    Args:
        request: ``data`` is a COCO json or a folder with one or several (:mod:`mmmim.datasets.coco_parts`), or the
            folder of the images with the json as ``labels``; ``test`` another json or folder.

    Raises:
        FileNotFoundError: No such file, or its images are nowhere.
        ValueError: Arguments that this task does not take, or a start that it cannot use.
        AnnotationError: Annotations that cannot be used.
    """
    refuse_options(request, DETECTION)
    if request.quick:
        raise ValueError(
            'quick=True: there is none for detection, as what finds objects has to be trained. --hours 0.1 makes it '
            'short; classification and segmentation have a quick way'
        )
    machine = 'gpu' if torch.cuda.is_available() else 'cpu'
    return fine_tune(request, DetectionJob(request, machine), HOURS[machine])


class Shot(NamedTuple):
    """An image of a file of annotations."""

    file: CocoFile
    id: Any
    name: str


class DetectionJob(Job):
    """Images with annotations in three parts; see :class:`.Job`.

    Args:
        request: What was asked for.
        machine: ``'cpu'`` or ``'gpu'``.
    """

    task, metric, key = DETECTION, 'box AP', 'coco/bbox_mAP'

    def __init__(self, request: Request, machine: str) -> None:
        self.request, self.machine = request, machine
        self.data = request.data if isinstance(request.data, str) else str(list(request.data)[0])
        self.contents: Dict[str, Dict[str, Any]] = {}
        self.parts, self.notes = self._parts()
        keep_parts(osp.abspath(request.out), self.parts, lambda shot: shot.name)
        self.masks = self._has_masks()
        self.model = 'Mask R-CNN' if self.masks else 'Faster R-CNN'
        if not self.masks:
            self.notes.append('most objects have no outlines: boxes alone are learned')
        self.files = {part: self._write(part) for part in ('fit', 'selection', 'report')}
        self.classes = self._classes()
        self.objects = {part: self._count(part) for part in self.files}
        self.counts = {
            **{part: len(getattr(self.parts, part)) for part in self.files},
            'classes': len(self.classes),
        }

    # ------------------------------------------------------------------------------------------------------- the data

    def _parts(self) -> Tuple[Parts[Shot], List[str]]:
        request = self.request
        sources = [request.data] if isinstance(request.data, (str, os.PathLike)) else list(request.data)
        if len(sources) != 1:
            raise ValueError(f'data names {len(sources)} sources: detection takes one json, or one folder')
        shots = self._shots(find_coco(os.fspath(sources[0]), request.labels))
        test = None
        if request.test is not None:
            test = self._shots(_tested(find_coco(request.test)))
        parts = divide(shots, lambda shot: shot.file.part, lambda shot: shot.name, test, request.share, _path_of)
        return parts, list(parts.notes)

    def _shots(self, files: Sequence[CocoFile]) -> List[Shot]:
        shots = []
        for file in files:
            examine(file.path, outlines=False)  # what is no COCO file ends here
            self.contents[file.path] = read_coco(file.path)
            shots += [Shot(file, image['id'], image['file_name']) for image in self.contents[file.path]['images']]
        return shots

    def _has_masks(self) -> bool:
        entries = [entry for content in self.contents.values() for entry in content['annotations']]
        outlined = sum(bool(entry.get('segmentation')) for entry in entries)
        return bool(entries) and 2 * outlined >= len(entries)

    def _write(self, part: str) -> str:
        """The file of a part: the data's own where it is one as it is, else one that is written."""
        shots: List[Shot] = getattr(self.parts, part)
        first = shots[0].file
        others = [shot for shot in shots if shot.file.path != first.path]
        content = self.contents[first.path]
        if not others and len(shots) == len(content['images']):
            return first.path
        written = dict(images=[], annotations=[], categories=content['categories'])
        for path in dict.fromkeys(shot.file.path for shot in shots):
            ids = {shot.id for shot in shots if shot.file.path == path}
            found = {
                key: [entry for entry in self.contents[path][key] if entry[name] in ids]
                for key, name in (('images', 'id'), ('annotations', 'image_id'))
            }
            if others:  # each file may count from the same number
                _renumber(found, len(written['images']), len(written['annotations']))
            for key, entries in found.items():
                written[key] += entries
        path = osp.join(osp.abspath(self.request.out), 'lists', f'{part}.json')
        write_if_changed(path, json.dumps(written))
        return path

    def _classes(self) -> List[str]:
        asked = self.request.overrides.get('classes')
        return list(asked or examine(self.files['fit'], outlines=False).classes)

    def _count(self, part: str) -> Counter:
        """Images in which each class has objects."""
        summary = examine(self.files[part], outlines=False)
        return Counter(name for names in summary.annotated.values() for name in names)

    # ------------------------------------------------------------------------------------------------------- the plan

    @property
    def batch(self) -> int:
        """At most half of the images, as an epoch has steps; even, for two processes."""
        half = len(self.parts.fit) // 2
        return self.request.batch_size or min(BATCH[self.machine], max(2, half // 2 * 2))

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return max(1, -(-len(self.parts.fit) // self.batch))

    @property
    def most_epochs(self) -> int:
        return max(MOST_EPOCHS, 500 // self.epoch)

    def steps(self, epochs: int) -> int:
        return epochs * self.epoch

    def plan(self, encoder: Encoder, steps: Choice) -> Tuple[Bases, Dict[str, Choice]]:
        if encoder.pyramid and encoder.backbone['type'] != 'mmmim.DenseSwin' and encoder.patch != 16:
            raise ValueError(f'{encoder.name} has patches of {encoder.patch} px, and its pyramid needs 16')
        base = _BASES['small' if encoder.small else 'large']
        epochs = max(1, round(steps.value / self.epoch))
        size = self._size(encoder)
        interval = max(1, epochs // VALIDATIONS)
        chosen = {
            **self._data(),
            'image_size': size,
            'model.backbone': _backbone(encoder),
            **_levels(encoder, size.value),
            **self._pipeline(base, epochs),
            'total_batch_size': Choice(self.batch, 'images in a step'),
            'max_batch_per_device': Choice(min(self.batch, 8 if encoder.small else 4), 'larger batches accumulate'),
            'max_epochs': Choice(epochs, steps.reason),
            'warmup_epochs': self._warmup(epochs),
            'train_cfg.val_interval': Choice(interval, 'the best checkpoint by the selection images is kept'),
            'default_hooks.checkpoint.interval': Choice(interval, ''),
            'default_hooks.checkpoint.save_best': Choice(self.key, ''),
        }
        if not self.masks:
            chosen.update(_without_masks())
        return base, chosen

    def _warmup(self, epochs: int) -> Choice:
        """At least two steps, with fewer MMEngine has none; none in a very short run."""
        warmup, told = min(0.5, epochs / 10), 'half an epoch, a tenth of a short run'
        if warmup * self.epoch < 2:
            warmup, told = 2 / self.epoch, 'two steps'
        if epochs * self.epoch < 20:
            warmup, told = 0.0, 'none in so few steps'
        return Choice(math.ceil(1e4 * warmup) / 1e4, told)  # upwards: the steps are cut to whole ones

    def _data(self) -> Dict[str, Choice]:
        workers = max(1, min(usable_cores(), 16))
        chosen = {
            'classes': Choice(self.classes, f'{len(self.classes)} classes of the annotations'),
            'num_classes': Choice(len(self.classes), ''),
        }
        for loader, part in (('train', 'fit'), ('val', 'selection'), ('test', 'report')):
            shots: List[Shot] = getattr(self.parts, part)
            folder = shots[0].file.images
            dataset: Dict[str, Any] = dict(data_root=folder, ann_file=self.files[part], data_prefix=dict(img=''))
            if loader == 'train':
                dataset['pipeline'] = Name('train_pipeline')
            else:
                chosen[f'{loader}_dataloader.batch_size'] = Choice(1 if self.machine == 'gpu' else 4, '')
            chosen[f'{loader}_dataloader.num_workers'] = Choice(
                workers, f'{workers} cores' if loader == 'train' else ''
            )
            chosen[f'{loader}_dataloader.dataset'] = Choice(dataset, f'{len(shots)} images: {part}')
        return chosen

    def _size(self, encoder: Encoder) -> Choice:
        """The side at which a quarter of the objects is not smaller than what is found well, within the images'."""
        step = encoder.patch * 2
        if self.request.image_size:
            size = self.request.image_size
            if size % encoder.patch:
                raise ValueError(
                    f'image_size={size} does not hold whole patches of {encoder.patch} pixels: use a multiple, such as '
                    f'{max(1, round(size / encoder.patch)) * encoder.patch}'
                )
            return Choice(size, 'as asked for')
        shares, sides = _object_sizes(read_coco(self.files['fit']))
        quarter, side = float(np.percentile(shares, 25)), float(np.median(sides))
        most = min(SIZE[self.machine], side)
        wanted = SMALL_OBJECT / max(quarter, 1e-6)
        size = max(step, int(min(max(wanted, most / 2), most)) // step * step)
        told = f'a quarter of the objects has sides below {quarter * size:.0f} of them'
        if quarter * size < FOUND_OBJECT:
            told += f'; below {FOUND_OBJECT} hardly any is found: a larger --image-size finds more and takes longer'
        return Choice(size, told)

    def _pipeline(self, base: str, epochs: int) -> Dict[str, Choice]:
        """More is varied the longer training is: in few epochs a detector only learns what it is shown unvaried."""
        steps = [dict(step) for step in Config.fromfile(str(configs_folder() / f'{base}.py')).train_pipeline]
        low, high = (0.1, 2.0) if epochs >= 50 else (0.5, 1.5)
        told = f'sizes of {low:g} to {high:g} times'
        if epochs < 12:
            told = 'sizes are not varied in less than 12 epochs'
            steps = [step for step in steps if not step['type'].endswith(('RandomCrop', 'FilterAnnotations'))]
        for step in steps:
            if step['type'] == 'RandomResize' and epochs < 12:
                step.pop('ratio_range')
                step['type'] = 'Resize'
            elif step['type'] == 'RandomResize':
                step['ratio_range'] = (low, high)
            if step['type'] == 'LoadAnnotations':
                step['with_mask'] = self.masks
        return {'train_pipeline': Choice(steps, told)}

    def check(self, cfg: Config) -> None:
        set_up_scope(cfg)
        settle(cfg)
        for loader, name in (('train', 'training'), ('val', 'selection'), ('test', 'report')):
            dataset = DATASETS.build(dict(cfg[f'{loader}_dataloader'].dataset))
            check_annotations(dataset, name, cfg.num_classes, 500, getattr(dataset, 'outlines', False))
            if not len(dataset):
                raise AnnotationError(f'the {name} part has no image with objects: {self.files[self._part_of(loader)]}')

    @staticmethod
    def _part_of(loader: str) -> str:
        return dict(train='fit', val='selection', test='report')[loader]

    # ----------------------------------------------------------------------------------------------------- measuring

    def measure(self, trained: Trained, model: Any, part: str) -> Measured:
        cfg = trained.cfg.copy()
        settle_loaders(cfg)
        loader = Runner.build_dataloader(dict(cfg[f'{part}_dataloader'].to_dict(), persistent_workers=False), seed=0)
        metric = METRICS.build(cfg[f'{part}_evaluator']).metric
        progress = Progress(len(loader.dataset), self._part_of(part))
        with evaluating(model):
            for batch in loader:
                samples = [sample.cpu().to_dict() for sample in model.test_step(batch)]
                metric.process(batch, samples)
                progress.update(len(samples))
        found = _precisions(metric, list(trained.classes or ()), {'bbox', 'segm'} if self.masks else {'bbox'})
        box = found['bbox']
        measures = {'mask AP': found['segm'].value or 0.0} if 'segm' in found else {}
        note = '' if box.interval or len(loader.dataset) < 2 else f'no interval with more than {MOST_CLASSES} classes'
        return Measured(box.value or 0.0, box.interval, measures, box.per_class, note)

    def class_rows(self, per_class: List[float]) -> List[Dict[str, Any]]:
        return [
            dict(name=name, images=self.objects['fit'][name], report=self.objects['report'][name],
                 **{'box AP': None if np.isnan(value) else value})
            for name, value in zip(self.classes, per_class)
        ]  # fmt: skip

    def measuring_images(self) -> Dict[str, List[str]]:
        return {part: [_path_of(shot) for shot in getattr(self.parts, part)] for part in ('selection', 'report')}


def _path_of(shot: Shot) -> str:
    return osp.join(shot.file.images, shot.name)


def _renumber(content: Dict[str, List[Dict[str, Any]]], images: int, objects: int) -> None:
    """Count the ids of images and of objects on from these numbers; the entries that were read stay as they are."""
    numbers = {image['id']: images + place for place, image in enumerate(content['images'], 1)}
    content['images'] = [dict(image, id=numbers[image['id']]) for image in content['images']]
    content['annotations'] = [
        dict(entry, id=objects + place, image_id=numbers[entry['image_id']])
        for place, entry in enumerate(content['annotations'], 1)
    ]


def _tested(files: List[CocoFile]) -> List[CocoFile]:
    """The files of what was given to be reported: its test part, where it has several."""
    tested = [file for file in files if file.part == TEST]
    return tested if len(files) > 1 and tested else files


def _object_sizes(content: Dict[str, Any]) -> Tuple[List[float], List[int]]:
    """Of each object, the root of its area over the longer side of its image; and the longer side of each image."""
    sides = {image['id']: max(image['width'], image['height']) for image in content['images']}
    shares = [
        (entry['bbox'][2] * entry['bbox'][3]) ** 0.5 / sides[entry['image_id']]
        for entry in content['annotations']
        if entry['image_id'] in sides and min(entry['bbox'][2:]) >= 1 and not entry.get('iscrowd')
    ]
    return shares or [1.0], list(sides.values())


def _backbone(encoder: Encoder) -> Choice:
    values: Dict[str, Any] = dict(drop_path_rate=0.0 if encoder.small else 0.1)
    kind = encoder.backbone['type'].partition('.')[2]
    if not encoder.pyramid:
        values.update(out_indices=(encoder.depth - 1,), final_norm=False)
    if kind != 'DenseSwin':
        plain = encoder.small or kind == 'DenseRelativeViT'
        if kind != 'DenseRelativeViT':
            values.update(window_size=None if plain else 14, relative_positions=None if plain else 'decomposed')
        if not plain and encoder.depth < 4:
            values.update(window_size=None)
    backbone = dict(encoder.backbone)
    if values.get('window_size') is not None:  # which has no place for tokens beside patches
        for key in ('class_token', 'num_class_tokens', 'num_register_tokens'):
            backbone.pop(key, None)
    init = dict(type='Pretrained', checkpoint=None, prefix='backbone.')
    return Choice(dict(_delete_=True, **backbone, **values, init_cfg=init), encoder.describe())


def _levels(encoder: Encoder, size: int) -> Dict[str, Choice]:
    """The strides of the pyramid, where patches are not those of the config."""
    if encoder.pyramid:
        return {'model.neck': Choice(dict(_delete_=True, type='FPN', out_channels=256, num_outs=5), 'four scales')}
    usual, scales = (8, (0.5, 1, 2, 4)) if encoder.small else (16, (0.25, 0.5, 1, 2, 4))
    if encoder.patch == usual:
        return {}
    exact = [encoder.patch * scale for scale in scales]
    strides = [int(stride) if stride == int(stride) else stride for stride in exact]
    told = f'cells of a pyramid on patches of {encoder.patch} px'
    return {
        'model.rpn_head.anchor_generator.strides': Choice(strides, told),
        'model.roi_head.bbox_roi_extractor.featmap_strides': Choice(strides[:-1], ''),
        'model.roi_head.mask_roi_extractor.featmap_strides': Choice(strides[:-1], ''),
    }


def _without_masks() -> Dict[str, Choice]:
    told = 'there are no outlines'
    return {
        'model.roi_head.mask_head': Choice(None, told),
        'model.roi_head.mask_roi_extractor': Choice(None, ''),
        **{
            f'{name}_evaluator.{key}': Choice(value, '')
            for name in ('val', 'test')
            for key, value in {'metric.metric': ['bbox'], 'default': dict(_delete_=True, bbox_mAP=0.0)}.items()
        },
    }


def _precisions(metric: Any, classes: List[str], kinds: Set[str]) -> Dict[str, Any]:
    """The average precision of boxes, and of masks, of what a metric of mmdet has gathered."""
    from pycocotools.cocoeval import COCOeval

    truth = metric._coco_api
    ids = truth.get_cat_ids(cat_names=classes)
    resamples = {} if len(ids) <= MOST_CLASSES else {'resamples': 0}
    scored = {}
    for kind in sorted(kinds):
        rows = [row for _, result in metric.results for row in _rows(result, ids, kind)]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluated = COCOeval(truth, truth.loadRes(rows) if rows else _nothing(truth), kind)
            evaluated.params.catIds, evaluated.params.imgIds = ids, [result['img_id'] for _, result in metric.results]
            evaluated.evaluate()
        found = average_precision(evaluated, **(resamples if kind == 'bbox' else {'resamples': 0}))
        ordered = sorted(ids)  # COCOeval's order; ours is that of the classes
        scored[kind] = found._replace(per_class=[found.per_class[ordered.index(one)] for one in ids])
    return scored


def _rows(result: Dict[str, Any], ids: List[Any], kind: str) -> List[Dict[str, Any]]:
    """Detections of an image as pycocotools reads them."""
    rows = []
    for place, (box, score, label) in enumerate(zip(result['bboxes'], result['scores'], result['labels'])):
        left, top, right, bottom = map(float, box)
        row = dict(image_id=result['img_id'], category_id=ids[label], score=float(score))
        if kind == 'segm':
            outline = dict(result['masks'][place])
            counts = outline['counts']
            row['segmentation'] = dict(outline, counts=counts.decode() if isinstance(counts, bytes) else counts)
        else:
            row['bbox'] = [left, top, right - left, bottom - top]
        rows.append(row)
    return rows


def _nothing(truth: Any) -> Any:
    """Detections of a detector that finds nothing."""
    empty = type(truth)()
    empty.dataset = dict(truth.dataset, annotations=[])
    empty.createIndex()
    return empty
