"""The encoder that a segmentor or a detector starts from, as a backbone of its config."""

import inspect
from typing import Any, Dict, NamedTuple, Optional, Tuple

from ...models.backbones import DenseConvViT, DenseRelativeViT, DenseSwin, DenseViT
from ...models.backbones.dense.base import default_outputs
from ...models.backbones.dense.swin import resolve_architecture as swin_architecture
from ...models.backbones.vit import resolve_architecture
from ...models.networks import is_public
from ...models.patches import to_2tuple
from ..compare import PUBLIC
from ..plan import RECIPES, default_model
from ..start import Start, find_start

_DENSE = dict(
    MaskedViT=DenseViT,
    RelativeViT=DenseRelativeViT,
    MaskedRelativeViT=DenseRelativeViT,
    ConvViT=DenseConvViT,
    MaskedSwin=DenseSwin,
)
# what the task chooses, or what belongs to pre-training
_OWN = frozenset(
    'img_size out_indices out_norms final_norm drop_path_rate trainable_blocks window_size global_blocks '
    'relative_positions with_cp lean fuse init_cfg'.split()
)
_PATCH = {'vit-tiny': 8}  # others 16
_SMALL = 192  # the width up to which the small configs are meant


class Encoder(NamedTuple):
    """What a task is built on.

    Attributes:
        name: As it was asked for.
        kind: ``'random'``, ``'public'``, ``'run'`` or ``'file'``.
        licence: Of the weights.
        backbone: Its config: type and architecture.
        depth, width, patch: Blocks, width of the last map, pixels of a patch.
        pyramid: Whether it has maps of four scales itself.
        start: The weights; None: random ones.
    """

    name: str
    kind: str
    licence: str
    backbone: Dict[str, Any]
    depth: int
    width: int
    patch: int
    pyramid: bool
    start: Optional[Start]

    @property
    def small(self) -> bool:
        """Whether the configs for two CPU cores fit it."""
        return self.width <= _SMALL and not self.pyramid

    @property
    def outputs(self) -> Tuple[int, ...]:
        """The four blocks that a segmentor reads.

        Raises:
            ValueError: The encoder has fewer.
        """
        if self.depth < 4:
            raise ValueError(f'{self.name} has {self.depth} blocks; UperNet reads the maps after four')
        return default_outputs(self.depth)

    def facts(self) -> Dict[str, str]:
        return dict(name=self.name, kind=self.kind, licence=self.licence)

    def describe(self) -> str:
        """In words."""
        return f'{self.backbone["type"].partition(".")[2]} of {self.depth} blocks, {self.patch} px patches'


def find_encoder(model: Optional[str]) -> Encoder:
    """The encoder that ``model`` names.

    Args:
        model: As of :func:`mmmim.finetune`. None: the public weights that comparisons begin with; random ones of the
            machine's usual size where they cannot be had, which is printed.

    Raises:
        ValueError: An unknown name, or a network that no encoder here computes.
        FileNotFoundError: Weights that are not here and cannot be fetched.
    """
    if model is None:
        try:
            return find_encoder(PUBLIC)
        except (OSError, ImportError, RuntimeError, ValueError) as error:
            model = default_model()
            reason = str(error).partition(' (')[0]
            print(f'WARNING: {PUBLIC} could not be had ({reason}): {model} starts from random weights', flush=True)
    if model in RECIPES:
        arch = RECIPES[model].arch
        arch = {key: value for key, value in arch.items()} if isinstance(arch, dict) else arch
        backbone = dict(type='mmmim.DenseViT', arch=arch, patch_size=_PATCH.get(model, 16))
        return _encoder(model, 'random', '', backbone, None)
    try:
        start = find_start(model, list(RECIPES))
    except ValueError as error:
        if not is_public(model):
            raise
        raise ValueError(
            f'{error}. Segmentation and detection need one of the encoders here; classification takes any network of '
            'timm'
        ) from None
    dense = _DENSE.get(type(start.encoder).__name__)
    if dense is None:
        raise ValueError(f'{model} is a {type(start.encoder).__name__}, which has no maps for dense tasks')
    known = set(inspect.signature(dense).parameters) - _OWN
    backbone = {key: value for key, value in start.backbone.items() if key in known and value is not None}
    backbone['type'] = f'mmmim.{dense.__name__}'
    return _encoder(model, start.kind, start.licence, backbone, start)


def _encoder(name: str, kind: str, licence: str, backbone: Dict[str, Any], start: Optional[Start]) -> Encoder:
    dense = backbone['type'].partition('.')[2]
    if dense == 'DenseSwin':
        embed_dim, depths, _ = swin_architecture(backbone.get('arch', 'base'))
        depth, width = sum(depths), embed_dim * 2 ** (len(depths) - 1)
    elif dense == 'DenseConvViT':
        assert start is not None
        depth, width = len(start.encoder.blocks), start.encoder.embed_dim
    else:
        width, depth, *_ = resolve_architecture(backbone.get('arch', 'base'))
    sides = to_2tuple(backbone.get('patch_size', 16))
    if sides[0] != sides[1]:
        raise ValueError(f'{name} has patches of {sides[0]} x {sides[1]} pixels: dense tasks need square ones')
    pyramid = dense in ('DenseSwin', 'DenseConvViT')
    return Encoder(name, kind, licence, dict(backbone), depth, width, sides[0], pyramid, start)
