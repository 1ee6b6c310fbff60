"""Features of any model of timm, brought to the grid of the encoder's patches."""

import difflib
import hashlib
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np
import timm
import torch
from timm.models import VisionTransformer
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ...structures import DataSample
from ..build import key_of
from ..networks import Network, check_layer, grids, has_tokens, is_public, layer_count, open_network
from ..patches import Grid, Size, to_2tuple
from .network import NetworkTarget, as_constant, fill_network, read_weights

Layers = Union[int, Sequence[int], None]
LARGEST_HALF = 65504.0


@MODELS.register_module()
class TimmTarget(NetworkTarget):
    """Features of a frozen network, ``[B, L, D]``: patch tokens of a ViT (also with rotary positions), or the grid of a
    CNN or a Swin, by timm's ``forward_intermediates``.

    Images are resized to the network's size (bicubic, antialiased), whatever their shape, and its grids to the
    encoder's: bilinear, and the mean over the cells of a patch where the network's grid is finer. Several layers are
    concatenated. The network runs without gradient, in the precision of the run.

    With ``cache=True`` it runs once on each training image, whole, before training (``TargetCacheHook``, among
    ``default_hooks``). A step then takes the crops of the stored grids, by the boxes of the images' crops with RoIAlign
    (He et al., 2017), and mirrors those of mirrored images. An image that is not in the cache, as in validation,
    goes through the network.

    Args:
        model: ``'timm:NAME'`` or ``'NAME'`` of timm, ``'hf-hub:ORG/NAME'``, ``'efficientnet-lite0'``, or a file that
            :func:`~mmmim.models.networks.open_network` reads.
        grid_size: (h, w) of the result (filled in by the algorithm: the encoder's). None: the first layer's own.
        layer: Number of a block of a ViT, or of a stage of a CNN, from 1; -1 is the last; or several of them. None: the
            last.
        norm: Whether the network's final norm is applied, to any layer; of a ViT that has it behind its pooling (BEiT,
            EVA-02), that one, to each token. CNNs have none.
        standardise: Bring each channel to mean 0 and standard deviation 1 over the training images, as
            ``FitTargetHook`` or the cache finds them. A checkpoint holds the two.
        image_size: Pixels (one number, or height and width) that the network sees. None: what it was evaluated at.
        weights: Path of a file with the weights, in timm's names, for a name of timm. None: timm's own.
        cache: Compute whole images once, before training.
        cache_dir: Where the cache lies. None: ``target_cache`` in the work dir.

    Raises:
        FileNotFoundError: There are no weights.
        RuntimeError: The file holds something else. Before training: nothing fills the cache. When used: not fitted.
        ValueError: An unknown model or layer, or a network without spatial features.
    """

    def __init__(
        self,
        model: str,
        grid_size: Optional[Size] = None,
        layer: Layers = None,
        norm: bool = True,
        standardise: bool = False,
        image_size: Optional[Size] = None,
        weights: Optional[str] = None,
        cache: bool = False,
        cache_dir: Optional[str] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        if weights is None:
            known = is_public(model) or not timm.is_model(model)
            network = open_network(model if known else f'timm:{model}', img_size=image_size)
        else:
            network = open_with_weights(model, weights, image_size)
        super().__init__(network.mean, network.std, init_cfg)
        self.source = dict(model=model, mean=network.mean, std=network.std)
        self.cache_dir = cache_dir
        self._set_up(network.module, network.name, network.size, layer, norm, grid_size, standardise, cache)

    def _set_up(
        self,
        module: nn.Module,
        name: str,
        size: Grid,
        layer: Layers,
        norm: bool,
        grid_size: Optional[Size] = None,
        standardise: bool = False,
        cache: bool = False,
    ) -> None:
        self.img_size, self.norm = size, norm
        self.layers = _checked_layers(module, name, layer)
        self._is_cnn = not hasattr(module, 'patch_embed')
        self.network = as_constant(module.to(memory_format=torch.channels_last) if self._is_cnn else module)
        self.shapes = self._probe(name)  # (C, h, w) of each layer
        self.grid_size = self.shapes[0][1:] if grid_size is None else to_2tuple(grid_size)
        self.out_dim = sum(channels for channels, _, _ in self.shapes)
        self.standardise, self.cache = standardise, cache
        self._rows: Optional[np.ndarray] = None
        self._places: Dict[str, int] = {}
        self._is_fitted = False  # the buffer's value, to be read without waiting for the device
        if standardise:
            self.register_buffer('feature_mean', torch.zeros(self.out_dim))
            self.register_buffer('feature_std', torch.ones(self.out_dim))
            self.register_buffer('fitted', torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def _probe(self, name: str) -> List[Tuple[int, int, int]]:
        """``(C, h, w)`` of each layer, by a forward pass: what cannot be a target fails here, before training."""
        maps = self._grids(torch.zeros(1, 3, *self.img_size))
        if any(x.ndim != 4 or x.shape[2] * x.shape[3] == 1 for x in maps):
            raise ValueError(
                f'{type(self).__name__}: layers {self.layers} of {name} give {[tuple(x.shape[1:]) for x in maps]} at '
                f'{self.img_size[0]}x{self.img_size[1]} pixels, and no grid of features: choose an earlier layer, a '
                'larger image_size or another model'
            )
        return [(x.shape[1], x.shape[2], x.shape[3]) for x in maps]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        # not a hook of `load_state_dict`: MMEngine calls this method directly
        super()._load_from_state_dict(*args, **kwargs)
        self._is_fitted = self.standardise and not self.fitted.is_meta and bool(self.fitted)

    # --------------------------------------------------------------------------------------------- the network's grids

    def maps(self, images: Tensor) -> List[Tensor]:
        """The network's own grids of images as the run normalises them, ``[B, C, h, w]`` for each layer."""
        images = self.renormalize(images)
        if tuple(images.shape[2:]) != tuple(self.img_size):
            images = F.interpolate(images, self.img_size, mode='bicubic', antialias=True, align_corners=False)
        if self._is_cnn:  # twice as fast on CPUs
            images = images.contiguous(memory_format=torch.channels_last)
        return self._grids(images)

    def _grids(self, images: Tensor) -> List[Tensor]:
        maps = grids(self.network, images, self.layers, self.norm)
        last = getattr(self.network, 'fc_norm', None)
        replaced = has_tokens(self.network) and isinstance(getattr(self.network, 'norm', None), nn.Identity)
        if not self.norm or last is None or not replaced:
            return maps
        return [last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for x in maps]

    def compute(self, images: Tensor) -> Tensor:
        return self._finish([crop_grid(x, None, self.grid_size) for x in self.maps(images)])

    def _finish(self, maps: List[Tensor]) -> Tensor:
        """``[B, L, D]`` of the layers' grids, which have become the encoder's."""
        features = torch.cat(maps, dim=1).flatten(2).transpose(1, 2)
        if not self.standardise:
            return features
        if not self._is_fitted:
            raise RuntimeError(
                f'{type(self).__name__}(standardise=True) has seen no images yet: call `fit` with training images (in '
                'a config, FitTargetHook does it), or load a checkpoint that carries mean and standard deviation'
            )
        return (features.float() - self.feature_mean) / self.feature_std

    # -------------------------------------------------------------------------------------- what is learned beforehand

    @property
    def needs_fit(self) -> bool:
        return (self.cache and self._rows is None) or (self.standardise and not self._is_fitted)

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Mean and standard deviation of each channel over the batches ``[B, 3, H, W]``.

        Raises:
            RuntimeError: ``cache=True``, and nothing has filled the cache.
        """
        if self.cache and self._rows is None:
            raise RuntimeError(
                f'{type(self).__name__}(cache=True) has no cache: add default_hooks.target_cache='
                "dict(type='TargetCacheHook') to the config, or set model.target.cache=False"
            )
        self.set_statistics(self.statistics(self.maps(images) for images in batches))

    def statistics(self, batches: Iterable[List[Tensor]]) -> Tensor:
        """Mean and standard deviation ``[2, D]`` (float64, on the host) of grids, as :meth:`maps` gives them."""
        total, squares = torch.zeros(2, self.out_dim, dtype=torch.float64).unbind()
        count = 0
        for maps in batches:
            values = [x.cpu().double().flatten(2) for x in maps]
            total = total + torch.cat([x.mean(2).sum(0) for x in values])
            squares = squares + torch.cat([x.square().mean(2).sum(0) for x in values])
            count += len(values[0])
        if not count:
            raise ValueError('there is no image to take the mean and standard deviation of features from')
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        return torch.stack([mean, torch.where(std > 1e-6 * mean.abs() + 1e-12, std, torch.ones_like(std))])

    def set_statistics(self, statistics: Tensor) -> None:
        """Take the mean and standard deviation ``[2, D]`` that features are standardised with."""
        if self.standardise:
            self.feature_mean.copy_(statistics[0])
            self.feature_std.copy_(statistics[1])
            self.fitted.fill_(True)
            self._is_fitted = True

    # ------------------------------------------------------------------------------------------------------- the cache

    @property
    def takes_samples(self) -> bool:
        """Whether ``forward`` looks at the data samples."""
        return self.cache

    @property
    def row_width(self) -> int:
        """Values that the cache holds for an image."""
        return sum(channels * height * width for channels, height, width in self.shapes)

    def cache_key(self) -> Dict[str, Any]:
        """All of the target that the cached values depend on, as plain values: also a digest of the weights."""
        digest = hashlib.sha256()
        for name, value in self.network.named_buffers():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return dict(
            self.source,
            weights=digest.hexdigest(),
            layers=self.layers,
            norm=self.norm,
            image_size=self.img_size,
            shapes=self.shapes,
        )

    @torch.no_grad()
    def rows_of(self, images: Tensor) -> Tensor:
        """Whole images ``[B, 3, H, W]`` to what the cache holds of them, ``[B, row_width]`` float16, on the host."""
        values = torch.cat([x.float().flatten(1) for x in self.maps(images)], dim=1)
        return values.clamp(-LARGEST_HALF, LARGEST_HALF).half().cpu()

    def maps_of(self, rows: Tensor) -> List[Tensor]:
        """The inverse of :meth:`rows_of`: ``[B, C, h, w]`` for each layer."""
        parts = rows.split([channels * height * width for channels, height, width in self.shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes)]

    def use_cache(self, rows: np.ndarray, places: Dict[str, int]) -> None:
        """Take the features of training images from ``rows [N, row_width]`` from now on.

        Args:
            rows: Of :meth:`rows_of`; may be a memory map.
            places: ``{img_path: row}``. By the path, as an unreadable image is replaced by another.
        """
        self._rows, self._places = rows, places

    @torch.no_grad()
    def forward(self, images: Tensor, data_samples: Optional[List[DataSample]] = None) -> Tensor:
        if not self.cache or self._rows is None or not data_samples:  # no cache: a test of a finished run
            return super().forward(images)
        places = [self._places.get(sample.get('img_path', ''), -1) for sample in data_samples]
        if min(places) < 0:  # images of another data set
            return super().forward(images)
        with torch.autocast(images.device.type, enabled=False):
            return self._from_cache(places, data_samples, images.device)

    def _from_cache(self, places: List[int], data_samples: List[DataSample], device: torch.device) -> Tensor:
        assert self._rows is not None
        check_boxes(data_samples)
        rows = torch.from_numpy(np.stack([self._rows[place] for place in places])).to(device, non_blocking=True)
        boxes = torch.tensor([sample.crop_box for sample in data_samples], dtype=torch.float32)
        flipped = torch.tensor([sample.flipped for sample in data_samples])
        boxes, flipped = boxes.to(device, non_blocking=True), flipped.to(device, non_blocking=True)
        maps = [crop_grid(x, boxes, self.grid_size) for x in self.maps_of(rows.float())]
        return self._finish([torch.where(flipped[:, None, None, None], x.flip(3), x) for x in maps])


def check_boxes(data_samples: Sequence[DataSample]) -> None:
    """Raises ValueError for samples that do not say which box of their file they show."""
    if any('crop_box' not in sample or 'flipped' not in sample for sample in data_samples):
        raise ValueError(
            'a target with cache=True needs the crop box of each image, and the pipeline of the training set records '
            'none: crop by RandomResizedCrop, CenterCrop, Resize, or FixedSizeCrop without padding, and mirror by '
            'RandomFlip; or set model.target.cache=False'
        )


def crop_grid(x: Tensor, boxes: Optional[Tensor], size: Grid) -> Tensor:
    """Boxes of grids, resized: ``[B, C, h, w] -> [B, C, *size]``.

    By RoIAlign: bilinear interpolation at the centre of each new cell, or the mean of several points in a cell that
    covers several old ones.

    Args:
        x: The grids.
        boxes: ``[B, 4]``, left, top, right and bottom as a share of the image. None: all of it.
        size: (height, width) of the result.
    """
    from torchvision.ops import roi_align  # torchvision takes a second, and other targets need none of it

    height, width = x.shape[2:]
    if boxes is None:
        if (height, width) == tuple(size):
            return x
        boxes = torch.cat([x.new_zeros(len(x), 2), x.new_ones(len(x), 2)], dim=1)
    left, top, right, bottom = boxes.float().unbind(1)
    places = torch.arange(len(x), device=x.device, dtype=torch.float32)
    rois = torch.stack([places, left * width, top * height, right * width, bottom * height], dim=1)
    return roi_align(x.float(), rois, tuple(size), aligned=True)


def _checked_layers(module: nn.Module, name: str, layer: Layers) -> List[int]:
    """Numbers from 1."""
    if not hasattr(module, 'forward_intermediates'):
        raise ValueError(
            f'{name} ({type(module).__name__}) has no spatial features that timm gives out (forward_intermediates): '
            'choose another model as the target'
        )
    depth = layer_count(module)
    asked: List[Any] = [-1] if layer is None else list(layer) if isinstance(layer, (list, tuple)) else [layer]
    if not asked:
        raise ValueError(f'layer={layer}: name one at least; {name} has layers 1 to {depth}, or -1 for the last')
    return [check_layer(number, depth, name) for number in asked]


def open_with_weights(model: str, weights: str, image_size: Optional[Size]) -> Network:
    """A model of timm by its name, with the weights of a file in timm's names."""
    name = model.removeprefix('timm:')
    if not timm.is_model(name):
        close = ', '.join(difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)) or 'none'
        raise ValueError(f"weights={weights!r} are for a model of timm, which has no '{name}'; similar names: {close}")
    module = timm.create_model(name, pretrained=False, num_classes=0)
    state = read_weights(
        weights, name, f'there is no file {weights!r} ({key_of("weights", "target")}) with weights of {name}'
    )
    if isinstance(module, VisionTransformer):
        state = checkpoint_filter_fn(state, module)
    fill_network(module, state, weights, name)
    cfg: Dict[str, Any] = getattr(module, 'pretrained_cfg', None) or {}
    size = to_2tuple(tuple(cfg.get('input_size', (3, 224, 224))[1:]) if image_size is None else image_size)
    if image_size is not None and hasattr(module, 'set_input_size'):
        getattr(module, 'set_input_size')(img_size=size)
    mean, std = (tuple(255.0 * value for value in cfg.get(key, (0.5,) * 3)) for key in ('mean', 'std'))
    return Network(module.eval(), name, 'unknown', mean, std, size, 'bicubic', 1.0, weights)
