"""Choose the settings of a pre-training config from a folder of images and the machine."""

import os
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from ..config.paths import configs_folder
from ..config.write import Choice
from ..engine.hardware import usable_cores
from .folder_split import FolderSplit

# backbone.arch, then width, depth and heads of the decoder
MODELS: Dict[str, Tuple[Any, dict]] = {
    'vit-tiny': (dict(embed_dim=192, depth=6, num_heads=3), dict(embed_dim=128, depth=2, num_heads=4)),
    'vit-small': ('small', dict(embed_dim=256, depth=4, num_heads=8)),
    'vit-base': ('base', dict(embed_dim=512, depth=8, num_heads=16)),
    'vit-large': ('large', dict(embed_dim=512, depth=8, num_heads=16)),
}
# images in all epochs together: minutes of a vit-tiny at 96 px on two cores, or on a GPU
VIEWS_CPU, VIEWS_GPU = 60_000, 3_000_000
MOST_EPOCHS = 800
LARGEST_BANK = 2000
MEASUREMENTS, PICTURES = 5, 5


class Name(str):
    """The name of another setting, instead of its value."""

    __repr__ = str.__str__


def methods() -> List[str]:
    """Names of the methods that :func:`mmmim.pretrain` knows."""
    return sorted(path.stem for path in (configs_folder() / 'quickstart').glob('*.py'))


def plan(
    split: FolderSplit,
    out: str,
    method: str = 'mae',
    model: str = 'vit-tiny',
    image_size: Optional[int] = None,
    epochs: Optional[int] = None,
    batch_size: Optional[int] = None,
) -> Dict[str, Choice]:
    """Choose the settings of a config from the data and the machine.

    Args:
        split: The images.
        out: The work dir.
        method: A file in ``configs/quickstart``.
        model: A key of :data:`MODELS`.
        image_size: Pixels; None: from the images and the machine.
        epochs: None: from the number of images and the machine.
        batch_size: Images in a step; None: from the number of images and the machine.

    Returns:
        Dotted keys of the config, each with a value and a reason.

    Raises:
        ValueError: An unknown method or model, a size without a fitting patch, images none of which can be read.
    """
    if method not in methods():
        raise ValueError(f'method={method!r} is not known; there are {", ".join(methods())}')
    if model not in MODELS:
        raise ValueError(f'model={model!r} is not known; there are {", ".join(MODELS)}')
    gpu = torch.cuda.is_available()
    count = len(split.files[0])
    size = _image_size(split, gpu) if image_size is None else Choice(int(image_size), 'as asked for')
    patch = patch_for(size.value)
    batch = _batch(count, gpu) if batch_size is None else Choice(batch_size, 'as asked for')
    if not 1 <= batch.value <= count:
        raise ValueError(f'a batch of {batch.value} images cannot be filled from {count}: use 1 to {count}')
    epochs = _epochs(count, gpu) if epochs is None else Choice(epochs, 'as asked for')
    if epochs.value < 1:
        raise ValueError(f'epochs={epochs.value} must be at least 1')
    steps = count // batch.value
    arch, neck = MODELS[model]
    if isinstance(arch, dict):
        arch = dict(arch, _delete_=True)
    parts = Config.fromfile(str(configs_folder() / 'quickstart' / f'{method}.py')).model
    encoders = [part for part in ('backbone', 'generator') if parts.get(part)]
    neck = neck if parts.get('neck') else {}  # CrossMAE has no decoder
    workers = Choice(max(1, min(usable_cores(), 16)), f'{usable_cores()} cores')
    return {
        'data_root': Choice(split.folder, f'{count} images to train on; {split.note}'),
        **{
            f'model.{part}.{key}': choice
            for part in encoders
            for key, choice in dict(
                arch=Choice(arch, model),
                img_size=size,
                patch_size=Choice(patch, f'a grid of {size.value // patch} x {size.value // patch} patches'),
            ).items()
        },
        **{f'model.neck.{key}': Choice(value, f'decoder of {model}') for key, value in neck.items()},
        'total_batch_size': batch,
        'max_epochs': epochs,
        'warmup_epochs': _warmup(epochs.value, steps),
        'train_dataloader.num_workers': workers,
        'test_dataloader.num_workers': workers,
        'default_hooks.checkpoint.interval': Choice(max(1, epochs.value // 4), 'epochs; one a minute besides'),
        'default_hooks.logger.interval': Choice(max(1, min(15, steps)), 'iterations'),
        **_data(split, out, size.value, epochs.value, method),
    }


def patch_for(size: int) -> int:
    """The patch that makes a grid of about 11 x 11 patches: 16 at 224 px, 8 at 96 px, 4 at 32 px."""
    fitting = [patch for patch in range(4, size // 4 + 1) if size % patch == 0]
    if not fitting:
        raise ValueError(
            f'image_size={size} has no fitting patch: use a multiple of 8, such as {max(32, round(size / 32) * 32)}'
        )
    return min(fitting, key=lambda patch: abs(np.log(size / patch / 11)))


def _image_size(split: FolderSplit, gpu: bool) -> Choice:
    files = split.files[0]
    drawn = np.random.default_rng(2).permutation(len(files))[:200].tolist()
    sides, reason = [], ''
    for i in drawn:
        path = os.path.join(split.roots[0], files[i])
        try:
            if path.lower().endswith('.npy'):
                sides.append(min(np.load(path, mmap_mode='r').shape[:2]))
            else:
                with Image.open(path) as image:
                    sides.append(min(image.size))
        except Exception as error:  # broken files are replaced in training, and ignored here
            reason = f'{files[i]}: {error}'
    if not sides:
        raise ValueError(f'none of {len(drawn)} images under {split.roots[0]} can be read ({reason})')
    side = int(np.median(sides))
    largest = 224 if gpu else 96
    size = max([32] + [s for s in (32, 64, 96, 128, 224) if s <= min(side, largest)])
    why = f'half of the images have a short side of {side} px or more'
    return Choice(size, why + ('' if gpu or side <= largest else '; without a GPU larger ones take too long'))


def _batch(count: int, gpu: bool) -> Choice:
    batch = 256 if gpu else 64
    if count < batch:
        return Choice(1 << (count.bit_length() - 1), f'the largest power of two within {count} images')
    return Choice(batch, f'a batch that {"a GPU" if gpu else "a CPU"} works well with')


def _epochs(count: int, gpu: bool) -> Choice:
    views = VIEWS_GPU if gpu else VIEWS_CPU
    epochs = max(1, min(round(views / count), MOST_EPOCHS))
    if epochs == MOST_EPOCHS:
        return Choice(epochs, 'so few images are soon known by heart')
    return Choice(
        epochs,
        f'{epochs * count:,} looks at images in all: some minutes of vit-tiny on '
        f'{"a GPU" if gpu else "two cores"}; more epochs give better features',
    )


def _warmup(epochs: int, steps: int) -> Choice:
    warmup = epochs / 15
    if warmup * steps < 2:  # a warm-up needs at least two steps
        warmup = 2 / steps if 2 / steps < epochs / 2 else 0
    return Choice(float(f'{warmup:.4g}'), 'a fifteenth' if warmup == epochs / 15 else 'two steps, or none in so few')


def _data(split: FolderSplit, out: str, size: int, epochs: int, method: str) -> Dict[str, Choice]:
    """The pipelines at this size, the lists of images, and what is measured while training."""
    base = Config.fromfile(str(configs_folder() / 'quickstart' / f'{method}.py'))
    pipelines = {}
    for name in ('train_pipeline', 'test_pipeline'):
        pipelines[name] = [_resized(step, size) for step in base[name]]
    lists = split.write_lists(out)
    parts = [dict(data_root=root, ann_file=path) for root, path in zip(split.roots, lists)]
    result: Dict[str, Choice] = {}
    for name, loader, part in zip(pipelines, ('train_dataloader', 'test_dataloader'), parts):
        result[name] = Choice(pipelines[name], '')
        result[f'{loader}.dataset'] = Choice(dict(part, pipeline=Name(name)), '')
    hooks = [dict(hook) for hook in base.custom_hooks]
    for hook in filter(lambda hook: 'interval' in hook, hooks):
        hook['interval'] = max(1, epochs // (MEASUREMENTS if hook['type'] == 'KNNHook' else PICTURES))
    if split.labelled:
        sets = {
            name: dict(type='ImageFolder', pipeline=Name('test_pipeline'), **part)
            for name, part in zip(('bank', 'query'), parts)
        }
        share = round(min(1.0, LARGEST_BANK / len(split.files[0])), 6)
        result['feature_eval'] = Choice(dict(sets, bank_share=share), f'{len(split.classes)} class folders')
        named = {name: Name(f"feature_eval['{name}']") for name in sets}
        hooks = [dict(hook, **named, bank_share=share) if hook['type'] == 'KNNHook' else hook for hook in hooks]
    else:
        result['feature_eval'] = Choice(None, 'without class folders there is nothing to classify')
        hooks = [hook for hook in hooks if hook['type'] != 'KNNHook']
    result['custom_hooks'] = Choice(hooks, '')
    return result


def _resized(step: dict, size: int) -> dict:
    """A transform's config for another image size; the shift between two views is scaled with it."""
    step, old = dict(step), step.get('size')
    if old is not None:
        step['size'] = size
    if 'max_shift' in step:
        step['max_shift'] = round(step['max_shift'] * size / old)
        step['master_size'] = size + step['max_shift'] + 1
    return step
