"""Choose the settings of a pre-training config from the images, the network, the machine and the time."""

import os.path as osp
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
import torch
from mmengine.config import Config

from ..config.paths import configs_folder
from ..config.write import Choice
from ..engine.hardware import usable_cores
from ..engine.hooks.checkpoint import START_ENCODER
from ..models.backbones.vit import MaskedViT
from ..models.build import NOT_ARCHITECTURE
from ..models.networks import Network
from ..models.patches import to_2tuple
from .folder_split import FolderSplit
from .label_split import LabelSplit
from .plan_data import choose_data, image_size_for, pixel_statistics
from .plan_images import choose_images
from .start import Start

LARGE, LARGEST_START = 256, 224  # pixels; the positions of weights for larger images are resized
ENLARGED = 4  # times the side of the images: more shows a target nothing new


class Recipe(NamedTuple):
    """What belongs to a size: ``arch`` of the encoder, its decoder, and how it is trained from random weights.

    ``warmup`` is a share of the epochs; ``reason`` says where the numbers are from.
    """

    arch: Any
    decoder: Dict[str, Any]
    base_lr: float
    weight_decay: float
    warmup: float
    reason: str


_MAE = "MAE's, for batches of 256 (He et al., 2021, Table 8)"
_SMALL = f"{_MAE}; a decoder of half its width and depth is this project's choice"
_TINY = 'chosen on drawn scenes for some minutes of training (configs/quickstart/mae.py)'
# MAE warms up for 40 of 800 epochs
RECIPES: Dict[str, Recipe] = {
    'vit-tiny': Recipe(
        dict(embed_dim=192, depth=6, num_heads=3), dict(embed_dim=128, depth=2, num_heads=4), 3e-3, 0.05, 1 / 15, _TINY
    ),
    'vit-small': Recipe('small', dict(embed_dim=256, depth=4, num_heads=8), 1.5e-4, 0.05, 1 / 20, _SMALL),
    'vit-base': Recipe('base', dict(embed_dim=512, depth=8, num_heads=16), 1.5e-4, 0.05, 1 / 20, _MAE),
    'vit-large': Recipe('large', dict(embed_dim=512, depth=8, num_heads=16), 1.5e-4, 0.05, 1 / 20, _MAE),
}
_WIDTHS = {'vit-tiny': 192, 'vit-small': 384, 'vit-base': 768}

# Going on from weights. Fine-tuning multiplies the rate by 0.65 to 0.75 from each block to the one below (BEiT, Bao et
# al., 2022; MAE, Table 9), so that what is general in the lower blocks stays. The rate is this project's choice.
CONTINUED_LR = 1.5e-4
LAYER_DECAY = 0.75


class Name(str):
    """The name of another setting, instead of its value."""

    __repr__ = str.__str__


def methods() -> List[str]:
    """Names of the methods that :func:`mmmim.pretrain` knows."""
    return sorted(path.stem for path in (configs_folder() / 'quickstart').glob('*.py'))


def default_model() -> str:
    """ViT-S with a GPU, ViT-T on CPUs."""
    return 'vit-small' if torch.cuda.is_available() else 'vit-tiny'


def default_hours() -> float:
    """Hours of training: one with a GPU, ten minutes on CPUs."""
    return 1.0 if torch.cuda.is_available() else 1 / 6


def default_method(start: Optional[Start], target: Optional[str]) -> str:
    """Features where a target is named, or where the start has no decoder of pixels to go on with; else pixels.

    Going on from DINO, CLIP or supervised weights by painting pixels loses what they know within some thousand images
    (k-NN from 80 to 10%; the sources stand in docs/pretrain.md).
    """
    if target is not None:
        return 'features'
    return 'mae' if start is None or start.decoder else 'features'


def plan(
    split: FolderSplit,
    out: str,
    epochs: Choice,
    method: str = 'mae',
    model: str = 'vit-tiny',
    image_size: Optional[int] = None,
    batch_size: Optional[int] = None,
    start: Optional[Start] = None,
    target: Optional[Network] = None,
    labels: Optional[LabelSplit] = None,
    images: Optional[Dict[str, Any]] = None,
) -> Dict[str, Choice]:
    """Choose the settings of a config.

    Args:
        split: The images.
        out: The work dir.
        epochs: Length of the run.
        method: A file in ``configs/quickstart``.
        model: A key of :data:`RECIPES`; the name of ``start`` where there is one.
        image_size: Pixels; None: the start's, or from the images and the machine.
        batch_size: Images in a step; None: from the number of images and the machine.
        start: Weights to start from.
        target: The network whose features are predicted (``method='features'``); None: the start itself.
        labels: Labelled images for measuring.
        images: ``image_channels`` and ``value_range``, where they were asked for.

    Returns:
        Dotted keys of the config, each with a value and a reason.

    Raises:
        ValueError: An unknown method or model, a size without a fitting patch, images none of which can be read, or
            whose channels do not fit each other, the method or the weights.
    """
    if method not in methods():
        raise ValueError(f'method={method!r} is not known; there are {", ".join(methods())}')
    if start is None and model not in RECIPES:
        raise ValueError(f'model={model!r} is not known; there are {", ".join(RECIPES)}')
    if epochs.value < 1:
        raise ValueError(f'epochs={epochs.value} must be at least 1')
    count = len(split.files[0])
    batch = _batch(count) if batch_size is None else Choice(batch_size, 'as asked for')
    if not 1 <= batch.value <= count:
        raise ValueError(f'a batch of {batch.value} images cannot be filled from {count}: use 1 to {count}')
    base = Config.fromfile(str(configs_folder() / 'quickstart' / f'{method}.py'))
    steps = count // batch.value
    recipe = RECIPES[model] if start is None else recipe_of(start)
    read = choose_images(split, start, base, method, images or {})
    channels, value_range = read['image_channels'].value, read['value_range'].value
    size = _size(split, start, image_size)
    encoder = _from_scratch(base, model, recipe, size.value) if start is None else _from_weights(start, size, out)
    if channels != 3:
        encoder['in_chans'] = Choice(channels, '')
    workers = Choice(max(1, min(usable_cores(), 16)), f'{usable_cores()} cores')
    return {
        'data_root': _data_root(split, out),
        **{
            key: choice
            for key, choice in read.items()
            if choice.value is not None and (choice.value != 3 or choice.reason)
        },
        **_encoders(base, encoder, size, start),
        **_pixels(split, start, size.value, channels, value_range),
        **_method(base, method, recipe, start, target, out, size.value),
        **_rates(base, method, recipe, start),
        'total_batch_size': batch,
        'max_epochs': epochs,
        'warmup_epochs': _warmup(epochs.value, steps, recipe.warmup),
        'train_dataloader.num_workers': workers,
        'test_dataloader.num_workers': workers,
        'default_hooks.checkpoint.interval': Choice(max(1, epochs.value // 4), 'epochs; one a minute besides'),
        'default_hooks.logger.interval': Choice(max(1, min(15, steps)), 'iterations'),
        **choose_data(split, out, size.value, epochs.value, base, labels, Name),
    }


def _data_root(split: FolderSplit, out: str) -> Choice:
    """The folder whose name the paths of images begin with: another one on the command line moves them.

    It is no folder that holds the results, since these would move, too.
    """
    reason = f'{len(split.files[0])} images to train on; {split.note}'
    root = osp.commonpath([split.folder, *split.roots])
    if root == split.folder:
        return Choice(root, reason)
    root = osp.commonpath(split.roots)
    if osp.commonpath([root, osp.abspath(out)]) == root:
        return Choice(split.folder, reason)
    return Choice(root, f'{split.folder}: {reason}')


def recipe_of(start: Start) -> Recipe:
    """The recipe of the size that an encoder's width belongs to."""
    width = start.encoder.embed_dim
    return RECIPES[next((name for name, most in _WIDTHS.items() if width <= most), 'vit-large')]


def patch_for(size: int) -> int:
    """The patch that makes a grid of about 11 x 11 patches: 16 at 224 px, 8 at 96 px, 4 at 32 px."""
    fitting = [patch for patch in range(4, size // 4 + 1) if size % patch == 0]
    if not fitting:
        raise ValueError(
            f'image_size={size} has no fitting patch, at least 4 pixels and at most a quarter of it: use a multiple of '
            f'8 from 16 on, such as {max(32, round(size / 32) * 32)}'
        )
    return min(fitting, key=lambda patch: abs(np.log(size / patch / 11)))


def _size(split: FolderSplit, start: Optional[Start], asked: Optional[int]) -> Choice:
    if start is None:
        return image_size_for(split) if asked is None else Choice(int(asked), 'as asked for')
    (height, width), patch = start.encoder.img_size, start.encoder.patch_size
    if asked is not None:
        if asked < 1 or asked % patch[0] or asked % patch[1]:
            raise ValueError(
                f'image_size={asked} does not hold whole patches of {start.name}, which are {patch[0]} x {patch[1]} '
                f'pixels: use a multiple, such as {max(1, round(asked / patch[0])) * patch[0]}'
            )
        return Choice(int(asked), 'as asked for')
    if height == width <= LARGEST_START:
        return Choice(height, f'of {start.name}')
    size = min(max(height, width), LARGEST_START) // patch[0] * patch[0]
    return Choice(size, f'{start.name} was trained at {height} x {width}: its positions are resized')


def _from_scratch(base: Config, model: str, recipe: Recipe, size: int) -> Dict[str, Choice]:
    patch = patch_for(size)
    arch = dict(recipe.arch, _delete_=True) if isinstance(recipe.arch, dict) else recipe.arch
    grid = f'a grid of {size // patch} x {size // patch} patches'
    return dict(arch=Choice(arch, f'{model}, random weights'), patch_size=Choice(patch, grid))


def _from_weights(start: Start, size: Choice, out: str) -> Dict[str, Choice]:
    given = {key: value for key, value in start.backbone.items() if key not in ('img_size', *NOT_ARCHITECTURE)}
    init = dict(type='Pretrained', checkpoint=osp.join(osp.abspath(out), START_ENCODER))
    patch = start.encoder.patch_size[0]
    cells = f'{size.value // patch} x {size.value // patch} patches of {patch} pixels'
    values = {key: Choice(value, '') for key, value in given.items()}
    values['arch'] = Choice(given.get('arch'), f'{start.describe()}; {cells}')
    return dict(values, _delete_=Choice(True, ''), init_cfg=Choice(init, f'the weights of {start.name}'))


def _encoders(base: Config, encoder: Dict[str, Choice], size: Choice, start: Optional[Start]) -> Dict[str, Choice]:
    parts = [part for part in ('backbone', 'generator') if base.model.get(part)]
    if start is not None and 'generator' in parts and not isinstance(start.encoder, MaskedViT):
        raise ValueError(f'this method has a generator, which is a plain ViT, and {start.name} is {start.describe()}')
    return {f'model.{part}.{key}': choice for part in parts for key, choice in dict(encoder, img_size=size).items()}


def _pixels(
    split: FolderSplit, start: Optional[Start], size: int, channels: int, value_range: Any
) -> Dict[str, Choice]:
    """Mean and standard deviation: the network's, where weights know one, else the data set's."""
    if start is None:
        mean, std, reason = pixel_statistics(split, size, channels, value_range)
    else:
        mean, std, reason = list(start.mean), list(start.std), f'of {start.name}'
    shown = [[round(float(value), 3) for value in values] for values in (mean, std)]
    return {
        'model.data_preprocessor.mean': Choice(shown[0], reason),
        'model.data_preprocessor.std': Choice(shown[1], reason),
    }


def _method(
    base: Config, method: str, recipe: Recipe, start: Optional[Start], target: Optional[Network], out: str, size: int
) -> Dict[str, Choice]:
    """What is predicted, and by which decoder."""
    chosen: Dict[str, Choice] = {}
    neck = base.model.get('neck') or {}
    if start is not None:
        chosen['start'] = Choice(start.facts(), f'licence of the weights: {start.licence}')
    else:
        chosen['start'] = Choice(dict(name='own pre-training', kind='random', licence=''), 'random weights')
    if method == 'features':
        return {**chosen, **_features(start, target, recipe, out, size)}
    if start is not None and method == 'mae' and start.decoder:
        chosen['model.neck'] = Choice(dict(start.decoder, _delete_=True), f'the decoder of {start.name} goes on')
        chosen['model.target.norm_pix'] = Choice(start.normalised_pixels, 'as it was trained')
        chosen['load_from'] = Choice(start.path, 'encoder and decoder')
    elif neck.get('type') == 'MAEDecoder':  # CrossMAE has none
        chosen.update({f'model.neck.{key}': Choice(value, 'its decoder') for key, value in recipe.decoder.items()})
    return chosen


def _features(
    start: Optional[Start], target: Optional[Network], recipe: Recipe, out: str, size: int
) -> Dict[str, Choice]:
    if target is not None:
        seen = target_size(target, size)
        teacher = dict(name=target.name, licence=target.licence)
        return {
            'teacher': Choice(teacher, 'whose features are learned, and whose licence goes on with them'),
            'model.target.model': Choice(target.name, f'its frozen features are predicted; licence: {target.licence}'),
            'model.target.image_size': seen,
        }
    if start is None:
        return {}  # the config's own
    file = osp.join(osp.abspath(out), START_ENCODER)
    own = dict(_delete_=True, type='TimmTarget', model=file, image_size=[size, size])
    neck = dict(recipe.decoder, _delete_=True, type='MAEDecoder', depth=min(2, recipe.decoder['depth']))
    why = 'no decoder of pixels comes with these weights: the frozen start tells what is behind the mask'
    return {
        'model.target': Choice(own, why),
        'model.neck': Choice(neck, 'predicts features of removed patches'),
        'model.head': Choice(dict(_delete_=True, type='FeatureHead', loss_on='masked', kind='cosine'), ''),
    }


def target_size(target: Network, size: int) -> Choice:
    """Height and width that a target sees, beside images of ``size`` pixels.

    Its own, up to 256; of small images less, as enlarging them shows nothing new. On CPUs its time is most of a short
    run.
    """
    own = target.size if max(target.size) <= LARGE else (LARGEST_START, LARGEST_START)
    if max(own) <= ENLARGED * size:
        return Choice(list(own), 'pixels that the target sees')
    step = to_2tuple(getattr(getattr(target.module, 'patch_embed', None), 'patch_size', 32))[0]
    side = max(step, ENLARGED * size // step * step)
    return Choice([side, side], f'pixels that the target sees, of its {max(own)}: the images have {size}')


def _rates(base: Config, method: str, recipe: Recipe, start: Optional[Start]) -> Dict[str, Choice]:
    wrapper = 'optim_wrapper.optimizer.weight_decay'
    if start is not None:
        low = f'low, as the weights are trained already; times {LAYER_DECAY} from block to block downwards'
        rates: Dict[str, Choice] = {'base_lr': Choice(CONTINUED_LR, low)}
        return {**rates, 'optim_wrapper.paramwise_cfg.layer_decay_rate': Choice(LAYER_DECAY, '')}
    if method == 'mae' or recipe is not RECIPES['vit-tiny']:  # the small configs of other methods have their own
        return {'base_lr': Choice(recipe.base_lr, recipe.reason), wrapper: Choice(recipe.weight_decay, recipe.reason)}
    return {}


def _batch(count: int) -> Choice:
    gpu = torch.cuda.is_available()
    batch = 256 if gpu else 64
    if count < batch:
        return Choice(1 << (count.bit_length() - 1), f'the largest power of two within {count} images')
    return Choice(batch, f'a batch that {"a GPU" if gpu else "a CPU"} works well with')


def _warmup(epochs: int, steps: int, share: float) -> Choice:
    warmup, reason = epochs * share, f'one {round(1 / share)}th of the epochs'
    if warmup * steps < 2:  # a warm-up needs at least two steps
        warmup = 2 / steps if 2 / steps < epochs / 2 else 0
        reason = 'two steps, or none in so few'
    return Choice(float(f'{warmup:.4g}'), reason)
