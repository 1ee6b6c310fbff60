"""The config of a classifier: the model, its images, how it is trained."""

from typing import Any, Dict, List, NamedTuple, Optional

from ...config.write import Choice, config_text, merge_overrides
from ...engine.hardware import usable_cores
from ..plan import Name
from ..speed import check_settings
from .labels import Labels, class_weights, data_root, repeated
from .request import Request
from .start import ClassifierStart

BASES = ['_base_/schedules/cls_finetune_adamw', '_base_/cls_runtime']
# settings that follow from images and start: what the saved models have to be read by
FIXED = (
    'test_pipeline', 'classes', 'data_root', 'val_dataloader.dataset', 'test_dataloader.dataset', 'model.type',
    'model.data_preprocessor', 'model.neck', 'model.backbone.type', 'model.backbone.arch', 'model.backbone.img_size',
    'model.backbone.patch_size', 'model.backbone.model_args', 'model.head.type', 'model.head.num_classes',
    'model.head.in_channels',
)  # fmt: skip
_META = ('sample_idx', 'img_path', 'replaced', 'seed')


class Recipe(NamedTuple):
    """How a backbone is trained; ``reason`` says where the numbers are from."""

    base_lr: float
    layer_decay: float
    epochs: int
    reason: str


def recipe_for(start: ClassifierStart) -> Recipe:
    """The recipe of a backbone's size. Twenty epochs are for sets of some thousand images."""
    kind = start.backbone['type'].rpartition('.')[2]
    is_vit = kind != 'TimmNetwork' or any(key.startswith('model.blocks.0.attn') for key in start.state)
    if is_vit and start.width <= 192:
        return Recipe(2e-3, 0.75, 20, 'as configs/downstream/classification/vit-tiny_folder_finetune.py')
    if is_vit:
        return Recipe(5e-4, 0.65, 20, "MAE's (He et al., 2022, Table 9), for a short training")
    return Recipe(1e-3, 0.75, 20, "this project's choice for networks of stages")


def last_blocks(start: ClassifierStart) -> int:
    """How many blocks or stages are trained before all are: a sixth."""
    return max(1, start.depth // 6)


class Plan(NamedTuple):
    """What a config of a classifier is made of.

    Attributes:
        request: What was asked for.
        start: The backbone.
        labels: The images.
        lists: Paths of their lists, by part.
        seed: Of the training.
    """

    request: Request
    start: ClassifierStart
    labels: Labels
    lists: Dict[str, str]
    seed: int

    def text(self, title: str, command: str, epochs: Choice, blocks: Optional[int], load_from: Optional[str]) -> str:
        """The text of a config.

        Args:
            title, command: For its docstring.
            epochs: Length.
            blocks: Blocks that are trained; None: all.
            load_from: The weights to begin with.
        """
        choices = {
            **self._images(),
            'model': Choice(self.model(blocks), ''),
            **self._training(epochs, load_from),
        }
        choices = merge_overrides(choices, self.request.overrides, BASES)
        return config_text(choices, BASES, command, title)

    def model(self, blocks: Optional[int] = None) -> Dict[str, Any]:
        """mmpretrain's classifier."""
        start, classes = self.start, len(self.labels.split.classes)
        backbone = dict(start.backbone, **({} if blocks is None else dict(trainable_blocks=blocks)))
        if any(key.endswith('.running_mean') for key in start.state) and 'TimmNetwork' in start.backbone['type']:
            backbone['norm_eval'] = True
        model: Dict[str, Any] = dict(
            type='ImageClassifier',
            data_preprocessor=dict(
                type='ClsDataPreprocessor',
                num_classes=classes,
                mean=[round(float(value), 3) for value in start.mean],
                std=[round(float(value), 3) for value in start.std],
                to_rgb=False,
            ),
            backbone=backbone,
        )
        if start.neck:
            model['neck'] = dict(start.neck)
        model['head'] = self._head(classes)
        return model

    def _head(self, classes: int) -> Dict[str, Any]:
        if self.labels.several:
            loss: Dict[str, Any] = dict(type='CrossEntropyLoss', use_sigmoid=True)
            return dict(type='MultiLabelLinearClsHead', num_classes=classes, in_channels=self.start.width, loss=loss)
        loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
        if self.request.balance == 'weights':
            weights = class_weights(self.labels.per_class(self.labels.split.fit))
            loss = dict(type='CrossEntropyLoss', class_weight=weights)
        return dict(type='LinearClsHead', num_classes=classes, in_channels=self.start.width, loss=loss)

    @property
    def images_an_epoch(self) -> int:
        """Lines of the list to fit on: of a balanced one more than images."""
        fit = self.labels.split.fit
        return len(repeated(fit)) if self.request.balance == 'sampling' and not self.labels.several else len(fit)

    def check(self) -> None:
        """Check what a caller sets of the config, before any work.

        Raises:
            KeyError, TypeError: A setting that is not there, or a value of another kind than it takes.
            ValueError: A setting that follows from the images and the start, or a number out of its bounds.
        """
        for key in self.request.overrides:
            if any(f'{key}.'.startswith(f'{fixed}.') or fixed.startswith(f'{key}.') for fixed in FIXED):
                raise ValueError(
                    f'{key}={self.request.overrides[key]!r}: it follows from the images and the start, and the frozen '
                    'features are made by it. data, labels, test, model and image_size state these'
                )
        lists = {part: f'{part}.txt' for part in ('fit', 'selection', 'report') if getattr(self.labels.split, part)}
        check_settings(self._replace(lists=lists).text('', '', Choice(1, ''), None, None))

    def test_pipeline(self) -> List[Dict[str, Any]]:
        """Steps before the last one, which packs."""
        return [dict(type='mmmim.LoadImage', **self.start.images), dict(self.start.crop)]

    def _images(self) -> Dict[str, Choice]:
        size = list(self.start.size)
        pack = dict(type='PackInputs', meta_keys=_META)
        crop = dict(type='mmmim.RandomResizedCrop', size=size, scale=(0.2, 1.0), interpolation='bicubic')
        train = [self.test_pipeline()[0], crop, dict(type='mmmim.RandomFlip', prob=0.5), pack]
        evaluated = dict(sampler=dict(type='mmmim.EpochSampler', shuffle=False, pad=True))
        choices = {
            'train_pipeline': Choice(train, ''),
            'test_pipeline': Choice([*self.test_pipeline(), pack], ''),
            'classes': Choice(list(self.labels.split.classes), ''),
            'data_root': Choice(data_root(self.labels.split), ''),
            'train_dataloader': Choice(
                self._loader('fit', 'train_pipeline', sampler=dict(type='mmmim.EpochSampler', shuffle=True)), ''
            ),
        }
        for name, part in (('val', 'selection'), ('test', 'report')):
            listed = (
                part if part in self.lists else 'fit' if name == 'val' or 'selection' not in self.lists else 'selection'
            )
            choices[f'{name}_dataloader'] = Choice(
                self._loader(listed, 'test_pipeline', batch_size=64, **evaluated), ''
            )
            choices[f'{name}_cfg'] = Choice({}, '')
            choices[f'{name}_evaluator'] = Choice(self._metrics(), '')
        return choices

    def _loader(self, part: str, pipeline: str, **options: Any) -> Dict[str, Any]:
        dataset: Dict[str, Any] = dict(type='mmmim.ImageFolder', with_label=True)
        if self.labels.several:
            dataset = dict(type='MultiLabelDataset')
        dataset.update(
            data_root=Name('data_root'),
            ann_file=self.lists[part],
            metainfo=dict(classes=Name('classes')),
            pipeline=Name(pipeline),
        )
        workers = max(1, min(usable_cores(), 16))
        return dict(
            **options,
            num_workers=workers,
            persistent_workers=True,
            collate_fn=dict(type='mmmim.mim_collate'),
            dataset=dataset,
        )

    def _metrics(self) -> List[Dict[str, Any]]:
        if self.labels.several:
            return [dict(type='AveragePrecision')]
        return [dict(type='Accuracy', topk=(1,)), dict(type='SingleLabelMetric', items=('recall',))]

    def _training(self, epochs: Choice, load_from: Optional[str]) -> Dict[str, Choice]:
        request, recipe = self.request, recipe_for(self.start)
        count = self.images_an_epoch
        batch = request.batch_size or min(64, max(8, 2 ** max(0, (count // 8).bit_length() - 1)), count)
        best = {'accuracy': 'accuracy/top1', 'balanced accuracy': 'single-label/recall', 'mAP': 'multi-label/mAP'}
        return {
            'total_batch_size': Choice(batch, 'as asked for' if request.batch_size else f'{count} images'),
            'base_lr': Choice(request.lr or recipe.base_lr, 'as asked for' if request.lr else recipe.reason),
            'max_epochs': epochs,
            'warmup_epochs': Choice(_warmup(epochs.value, count // batch), ''),
            'optim_wrapper.paramwise_cfg.layer_decay_rate': Choice(recipe.layer_decay, ''),
            'default_hooks.checkpoint.interval': Choice(max(1, epochs.value // 4), ''),
            'default_hooks.checkpoint.save_best': Choice(best[self.labels.metric], 'of the selection images'),
            'default_hooks.checkpoint.rule': Choice('greater', ''),
            'randomness.seed': Choice(self.seed, ''),
            'load_from': Choice(load_from, 'the head is the logistic regression'),
        }


def _warmup(epochs: int, steps: int) -> float:
    """A tenth of the epochs; none where that is less than two of the steps of an epoch."""
    warmup = round(epochs / 10, 2)
    return warmup if warmup * steps >= 2 else 0
