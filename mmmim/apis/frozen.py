"""A frozen network of any kind, as features of images."""

import copy
import json
import os
import os.path as osp
from contextlib import suppress
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from ..checkpoint.encoder import open_encoder
from ..checkpoint.newest import newest_checkpoint
from ..checkpoint.read import AnyPath
from ..checkpoint.write import exported_facts
from ..config.check_values import checked
from ..datasets.io.pixel_formats import to_planes
from ..datasets.io.value_range import KINDS, ValueRange, checked_range
from ..datasets.loading import mim_collate
from ..datasets.transforms import LoadImage
from ..engine.optim.autocast import has_fast_bf16
from ..models.backbones.conv_vit import ConvViT
from ..models.backbones.vit import ARCHITECTURES
from ..models.build import check_choice
from ..models.necks.pool_tokens import POOLS, check_pool, pool_tokens
from ..models.networks import (
    EXPORTED,
    Network,
    check_layer,
    has_tokens,
    intermediates,
    is_public,
    is_repository,
    layer_count,
    open_file,
    open_network,
    stored_licence,
    unknown_model,
)
from ..models.patches import Size, to_2tuple
from ..models.preprocess import MIMDataPreprocessor
from ..registry import TRANSFORMS
from .from_checkpoint import build_pipeline, is_ours, load_backbone, read_source
from .trained import CONFIG, MODEL

Layer = Union[int, str, None]
Picture = Union[str, os.PathLike, Image.Image, np.ndarray]


class _Opened(NamedTuple):
    """A network with what it wants of images; ``module`` is one of timm's or one of our backbones."""

    module: nn.Module
    preprocessor: nn.Module
    pipeline: list
    img_size: Tuple[int, int]
    licence: str
    ours: bool


@checked
def load(
    model: AnyPath,
    *,
    config: Optional[str] = None,
    prefix: Optional[str] = None,
    device: Optional[str] = None,
    layer: Layer = None,
    pool: Optional[str] = None,
    image_size: Optional[Size] = None,
) -> 'Frozen':
    """A network, frozen, as an object with ``.embed(images)``.

    Args:
        model: A run's folder (its ``encoder.safetensors``, or else its newest checkpoint), a checkpoint file of any
            project, ``'timm:NAME'``, ``'hf-hub:ORG/NAME'``, or ``'efficientnet-lite0'``.
        config: The config of a checkpoint, if it is not stored inside.
        prefix: Which network, where a file holds several, such as ``'student'``.
        device: Such as ``'cuda:1'``; None: a GPU if there is one.
        layer: Whose features :meth:`Frozen.embed` takes: an int from 1 to ``depth`` (-1: the last); ``'auto'``: what
            the run, or the encoder that it exported, has stored, or else the network's output; None: as ``'auto'`` for
            a run's folder, else the output.
        pool: ``'mean'`` of the patch tokens, the first class token ``'cls'``, the mean of several class tokens
            ``'cls_mean'``, or None: what the network itself does, and of our encoders and of files the mean.
        image_size: Pixels, an int or (height, width), if not the network's own.

    Raises:
        FileNotFoundError: There is no such file or folder, or weights could not be fetched.
        ValueError: An unknown name, or the network has no such layer, pooling or image size.
        EncoderMismatchError: A file holds an architecture that nothing here computes.
    """
    name = os.fspath(model)
    path, run = _find(name)
    if config is None and osp.basename(path) == MODEL and osp.isfile(osp.join(osp.dirname(path), CONFIG)):
        config = osp.join(osp.dirname(path), CONFIG)
    if isinstance(layer, str):
        check_choice('layer', layer, ('auto',))
    if layer == 'auto' or layer is None and osp.isdir(name):
        layer = run['layer'] if 'layer' in run else exported_facts(path).get('layer')
    check_choice('pool', pool, (*POOLS, None))
    if is_public(path):
        opened = _from_network(open_network(path, img_size=image_size))
    else:
        opened = _open_own(path, config, prefix, image_size)
        start = run.get('start')
        stated = start.get('licence') if isinstance(start, dict) else None
        opened = opened._replace(licence=stored_licence(path) or stated or 'unknown')
        pool = pool or (None if is_repository(path) else 'mean')
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    return Frozen(name, opened, device, layer, pool)


def _find(name: str) -> Tuple[str, Dict[str, Any]]:
    """The file of a path, or a public name as it is; and the content of ``run.json`` beside it."""
    path = name
    if is_public(name):  # no file has a run.json beside it
        return name, {}
    if osp.isdir(name):
        exported = osp.join(name, EXPORTED)
        kept = osp.join(name, MODEL)  # by fine-tuning
        path = exported if osp.isfile(exported) else kept if osp.isfile(kept) else newest_checkpoint(name) or ''
        if not path:
            raise FileNotFoundError(f'{name!r} has neither {EXPORTED} nor a checkpoint: give the folder of a run')
    elif not osp.exists(name) and name.removeprefix('vit-') in ARCHITECTURES:
        raise ValueError(f'{name!r} is a size, which has no weights: give a run, a file or public weights')
    elif not osp.exists(name) and '://' not in name:
        raise FileNotFoundError(unknown_model(name))
    run: Any = {}
    with suppress(OSError, ValueError), open(osp.join(osp.dirname(path), 'run.json'), encoding='utf-8') as file:
        run = json.load(file)
    return path, run if isinstance(run, dict) else {}


def _open_own(path: str, config: Optional[str], prefix: Optional[str], image_size: Optional[Size]) -> _Opened:
    """A file: one of our encoders where the file or ``config`` says so, else a module of timm's."""
    image_size = None if image_size is None else to_2tuple(image_size)
    file = None if is_repository(path) and config is None else open_encoder(path, prefix)
    if (
        file is None
        or config is None
        and not file.config_error
        and not (file.config and is_ours(file.model['backbone']))
    ):
        return _from_network(open_file(path, image_size, prefix, file))
    source = read_source(path, config, prefix, file)
    backbone, preprocessor = load_backbone(source, image_size)
    pipeline = build_pipeline(source, backbone.img_size, len(preprocessor.mean))
    return _Opened(backbone, preprocessor, pipeline, backbone.img_size, 'unknown', True)


def _from_network(network: Network) -> _Opened:
    """With timm's preprocessing: resized, and cropped in the middle, in one step."""
    transforms: List[Dict[str, Any]] = [dict(type='mmmim.LoadImage', channels=len(network.mean))]
    if network.crop_mode == 'squash' and network.crop_pct == 1:
        transforms.append(dict(type='mmmim.Resize', size=list(network.size), interpolation=network.interpolation))
    else:
        crop = dict(size=list(network.size), ratio=network.crop_pct, interpolation=network.interpolation)
        transforms.append(dict(type='mmmim.CenterCrop', **crop))
    pipeline = [TRANSFORMS.build(transform) for transform in [*transforms, dict(type='mmmim.PackImage')]]
    preprocessor = MIMDataPreprocessor(network.mean, network.std)
    return _Opened(network.module, preprocessor, pipeline, network.size, network.licence, False)


class Frozen:
    """A frozen network and its preprocessing; made by :func:`load`.

    Attributes:
        name: As it was asked for.
        licence: Of the weights, in the hub's words, or ``'unknown'``.
        width: Of the features that :meth:`embed` returns.
        depth: Number of layers that can be asked for, 1 to ``depth``: blocks of a ViT, stages of others; may be 0.
        img_size: (height, width) in pixels.
        channels: Of an image.
        value_range: Stored values that become 0 and 255 in images of more than 8 bits; None: by their type.
        device, precision: Where it computes, and in what: ``'float32'``, or ``'bfloat16'`` on GPUs that have it.
        layer, pool: What :meth:`embed` takes; None: the network's output, by its own pooling.
        pipeline: Transforms of ``dict(img_path=..., sample_idx=..., seed=0, replaced=[])``, or ``img`` in place of
            ``img_path``, to ``dict(inputs, data_samples)``.
    """

    def __init__(self, name: str, opened: _Opened, device: torch.device, layer: Layer, pool: Optional[str]) -> None:
        self.name, self.licence, self.device = name, opened.licence, device
        self.precision = 'bfloat16' if device.type == 'cuda' and has_fast_bf16('cuda') else 'float32'
        self.img_size, self.channels = opened.img_size, len(opened.preprocessor.mean)
        self.pipeline, self._ours = opened.pipeline, opened.ours
        loads = [step for step in opened.pipeline if isinstance(step, LoadImage)]
        self.value_range = loads[0].value_range if loads else None
        self.module = opened.module.to(device).eval().requires_grad_(False)
        self._preprocessor = opened.preprocessor.to(device)
        # convolutions on a CPU take half the time so; a ViT has one, which does not count
        self._format = torch.contiguous_format if opened.ours or has_tokens(self.module) else torch.channels_last
        self.module.to(memory_format=self._format)
        self.depth = len(_stages(self.module)) if opened.ours else layer_count(self.module)
        self.layer = None if layer is None else check_layer(layer, self.depth, name)
        self.pool = pool
        blank = torch.zeros(1, self.channels, *self.img_size, dtype=torch.uint8)
        self.width = self.features(dict(inputs=blank), [self.layer], pool)[0].shape[1]

    def __repr__(self) -> str:
        size = 'x'.join(map(str, self.img_size))
        return f'Frozen({self.name!r}, width={self.width}, depth={self.depth}, img_size={size}, layer={self.layer})'

    def features(
        self, batch: Dict[str, Any], layers: Sequence[Optional[int]] = (None,), pool: Optional[str] = None
    ) -> List[Tensor]:
        """Features of a batch, from one pass.

        Args:
            batch: What :func:`.mim_collate` makes of the pipeline's samples.
            layers: Each from 1 to ``depth`` (-1: the last), or None for the output: timm's ``forward_head`` of public
                networks, the pooled tokens after the final norm of our encoders. A ViT's layer is pooled after the
                final norm; of a network of stages it is the mean over the map.
            pool: As of :func:`load`. A network without tokens pools in its own way.

        Returns:
            One ``[B, D]`` float32 on the CPU for each of ``layers``.

        Raises:
            ValueError: No such layer, or no class token.
        """
        check_choice('pool', pool, (*POOLS, None))
        wanted = [None if layer is None else check_layer(layer, self.depth, self.name) for layer in layers]
        compute = _own_features if self._ours else _timm_features
        with torch.inference_mode(), torch.autocast('cuda', torch.bfloat16, self.precision == 'bfloat16'):
            images = self._preprocessor(batch, False)['inputs'].contiguous(memory_format=self._format)
            found = compute(self.module, images, wanted, pool)
        # copied, as what inference mode makes cannot take part in training: of a probe, for one
        return [features.to('cpu', torch.float32, copy=True) for features in found]

    def embed(self, images: Union[Picture, Iterable[Picture]], batch_size: int = 64) -> np.ndarray:
        """Features of pictures.

        Args:
            images: A path, a PIL image, an array ``[H, W, C]`` or ``[H, W]``; or several of these, also
                ``[N, H, W, C]``. Pictures are turned upright, resized and cropped as the network's evaluation does.
                What has more than 8 bits, or floats, is mapped by ``value_range``.
            batch_size: Pictures at once.

        Returns:
            ``[N, D]`` float32; a single picture is one row.

        Raises:
            ImageReadError: A picture cannot be read.
            ValueError: There is none, or something else than a picture.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size={batch_size} must be at least 1')
        pictures, _ = as_pictures(images)
        rows = []
        for start in range(0, len(pictures), batch_size):
            samples = [
                self._sample(picture, start + i) for i, picture in enumerate(pictures[start : start + batch_size])
            ]
            rows.append(self.features(mim_collate(samples), [self.layer], self.pool)[0])
        return torch.cat(rows).numpy()

    def read_with(self, value_range: Sequence) -> 'Frozen':
        """Map ``(low, high)``, or a pair for each channel, to 0..255 in what has more than 8 bits."""
        for step in self.pipeline:
            if isinstance(step, LoadImage):
                step.value_range = self.value_range = checked_range(value_range, self.channels)
        return self

    def as_module(self) -> 'PixelsToFeatures':
        """The same as a module for export, with the same parameters; of a ViT without the blocks that are not used."""
        module: Any = self.module
        after = isinstance(module, ConvViT)  # which adds its stages after the last block
        if self.layer is not None and has_tokens(module) and not after and self.layer < len(module.blocks):
            module = copy.copy(module)
            module._modules = dict(module._modules)
            module.blocks = module.blocks[: self.layer]
        compute = _own_features if self._ours else _timm_features
        return PixelsToFeatures(self._preprocessor, module, lambda *args: compute(*args, [self.layer], self.pool)[0])

    def _sample(self, picture: Picture, index: int) -> Dict[str, Any]:
        results = picture_input(picture, index, self.channels, self.value_range)
        for transform in self.pipeline:
            results = transform(results)
        return results


class PixelsToFeatures(nn.Module):
    """Pixels ``[B, C, H, W]`` in 0..255, uint8 or float32, to features ``[B, D]``; see :meth:`Frozen.as_module`."""

    def __init__(self, preprocessor: Any, network: nn.Module, compute: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.preprocessor, self.network, self.compute = preprocessor, network, compute

    def forward(self, pixels: Tensor) -> Tensor:
        return self.compute(self.network, self.preprocessor.normalize(pixels))


def as_pictures(images: Union[Picture, Iterable[Picture]]) -> Tuple[List[Picture], bool]:
    """What a call got as one picture or several, as a list, and whether it was a single one.

    Raises:
        ValueError: The list is empty.
    """
    single = isinstance(images, (str, os.PathLike, Image.Image)) or getattr(images, 'ndim', 4) < 4
    pictures = [images] if single else list(images)  # type: ignore[arg-type, list-item]
    if not pictures:
        raise ValueError('there is no picture: the list is empty')
    return pictures, single


def picture_input(
    picture: Picture, index: int, channels: int, value_range: Optional[ValueRange] = None
) -> Dict[str, Any]:
    """What the first step of a pipeline takes: ``img_path``, or ``img`` ``[H, W, C]``, with keys that later ones want.

    Raises:
        ValueError: No picture, or an array of other numbers than uint8 while no ``value_range`` is known.
    """
    results: Dict[str, Any] = dict(sample_idx=index, seed=0, replaced=[])
    if isinstance(picture, (str, os.PathLike)):
        results['img_path'] = os.fspath(picture)
    elif isinstance(picture, Image.Image):
        upright = ImageOps.exif_transpose(picture)
        planes = to_planes(upright, channels, f'picture {index}', value_range)
        results['img'] = np.concatenate([np.atleast_3d(np.asarray(plane)) for plane in planes], axis=2)
    elif isinstance(picture, np.ndarray) and picture.ndim in (2, 3) and _is_read(picture.dtype, value_range):
        results['img'] = picture
    else:
        found = f'{picture.dtype} of shape {picture.shape}' if isinstance(picture, np.ndarray) else type(picture)
        raise ValueError(
            f'picture {index} is {found}; give a path, a PIL image, or uint8 [H, W, C] (other numbers: read_with)'
        )
    return results


def _is_read(dtype: np.dtype, value_range: Optional[ValueRange]) -> bool:
    return dtype == np.uint8 or (dtype.kind in KINDS and value_range is not None)


def _timm_features(module: Any, images: Tensor, layers: Sequence[Optional[int]], pool: Optional[str]) -> List[Tensor]:
    """``[B, D]`` each, by timm's own forward functions."""
    tokens, prefix = has_tokens(module), getattr(module, 'num_prefix_tokens', 0)
    # a file's several class tokens are registers to timm
    classes = getattr(module, 'num_class_tokens', prefix - getattr(module, 'num_reg_tokens', 0))
    by_class = pool in ('cls', 'cls_mean')
    if by_class:
        check_pool(str(pool), classes)
    chosen = sorted({layer for layer in layers if layer is not None})
    taken: Dict[Optional[int], Tensor] = {}
    if chosen:
        final, maps = intermediates(module, images, chosen, norm=True, prefix=tokens and by_class)
        for layer, found in zip(chosen, maps):
            taken[layer] = _pooled_layer(module, found, pool if tokens else None, classes)
    elif None in layers:
        final = module.forward_features(images)
    if None in layers and (pool is None or not tokens):
        taken[None] = module.forward_head(final, pre_logits=True)
    elif None in layers:
        taken[None] = _head_norm(module, pool_tokens(final, prefix, pool, prefix - classes))
    return [taken[layer] for layer in layers]


def _pooled_layer(module: Any, found: Any, pool: Optional[str], classes: int) -> Tensor:
    """``[B, D]`` of a map ``[B, D, h, w]``, or of a pair of it and prefix tokens."""
    if pool in ('cls', 'cls_mean'):
        if not isinstance(found, tuple):
            raise ValueError(f"pool='{pool}': {type(module).__name__} gives no class tokens of its layers; use 'mean'")
        features = found[1][:, 0] if pool == 'cls' else found[1][:, :classes].mean(1)
    else:
        features = found.mean((2, 3))
    return _head_norm(module, features) if has_tokens(module) else features


def _head_norm(module: Any, features: Tensor) -> Tensor:
    """The norm of a ViT that has it after its pooling, in the place of the one before."""
    last = getattr(module, 'fc_norm', None)
    return last(features) if last is not None and isinstance(getattr(module, 'norm', None), nn.Identity) else features


def _stages(backbone: Any) -> Sequence[nn.Module]:
    """Blocks of one of our encoders; of a Swin the stages."""
    return backbone.blocks if hasattr(backbone, 'blocks') else backbone.layers


def _own_features(backbone: Any, images: Tensor, layers: Sequence[Optional[int]], pool: Optional[str]) -> List[Tensor]:
    """``[B, D]`` each, of one of our encoders."""
    prefix, registers, pool = backbone.num_prefix_tokens, backbone.num_register_tokens, pool or 'mean'
    check_pool(pool, prefix - registers)
    stages, outputs = _stages(backbone), {}  # type: ignore[var-annotated]

    def keep(layer: int) -> Any:
        return lambda _module, _inputs, output: outputs.update({layer: output})

    handles = [stages[layer - 1].register_forward_hook(keep(layer)) for layer in {*layers} - {None, len(stages)}]
    try:
        final = backbone(images)
        # a dense encoder gives maps [B, D, h, w]
        final = final[-1].mean((2, 3)) if isinstance(final, tuple) else pool_tokens(final, prefix, pool, registers)
    finally:
        for handle in handles:
            handle.remove()
    taken: Dict[Optional[int], Tensor] = {None: final, len(stages): final}
    for layer, output in outputs.items():
        # maps of a Swin's stages [B, h, w, D] have widths that the final norm does not fit
        taken[layer] = (
            output.mean((1, 2)) if output.ndim == 4 else pool_tokens(backbone.norm(output), prefix, pool, registers)
        )
    return [taken[layer] for layer in layers]
