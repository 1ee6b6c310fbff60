"""Build a model for inference from a checkpoint file, with or without its training config."""

import copy
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from mmengine.registry import init_default_scope
from torch import Tensor, nn

from ..checkpoint.config_text import ConfigTextError, check_types, parse_config_text
from ..checkpoint.encoder import fill_encoder
from ..checkpoint.read import load_file
from ..checkpoint.schemes import detect_scheme, to_mmmim, unwrap
from ..config.load import load_config
from ..config.prepare import set_up_scope
from ..models.backbones.vit import ARCHITECTURES
from ..models.patches import Size, to_2tuple
from ..models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ..registry import MODELS, TRANSFORMS

DECODERS = ('neck.', 'drawing_head.')  # parts that reconstruct, in any method


class Source(NamedTuple):
    """A checkpoint and what is known of the model in it."""

    path: str
    checkpoint: Dict[str, Any]
    cfg: Dict[str, Any]  # at least cfg['model']['backbone']
    origin: str  # where cfg is from, in words
    trusted: bool  # the user gave the config: it may use any part


def read_source(path: str, config: Optional[str] = None) -> Source:
    """Read a checkpoint, and find the config that goes with it.

    The config is ``config`` if given; else the one inside the checkpoint, which is parsed and never executed, and
    from which only this project's own parts are built; else it is inferred from the shapes, for the papers' ViTs.

    Raises:
        FileNotFoundError: No such file.
        ConfigTextError: The config inside the checkpoint is more than plain values.
        ValueError: There is no config and the shapes do not determine the model.
    """
    checkpoint = load_file(path)
    if config is not None:
        cfg = load_config(config)
        set_up_scope(cfg)
        return Source(path, checkpoint, cfg._cfg_dict.to_dict(), config, True)
    init_default_scope('mmmim')
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    stored = stored_config(meta if isinstance(meta, dict) else {}, path)
    if stored is not None:
        return Source(path, checkpoint, stored, 'the config inside the checkpoint', False)
    inferred = dict(model=infer_model(to_mmmim(checkpoint)))
    return Source(path, checkpoint, inferred, 'the shapes of the parameters', True)


def stored_config(meta: Dict[str, Any], path: str) -> Optional[Dict[str, Any]]:
    """The config stored in a training checkpoint (text) or in an exported encoder's metadata."""
    exported = meta.get('config')
    if isinstance(exported, dict) and isinstance(exported.get('backbone'), dict):
        cfg = dict(
            model=dict(
                backbone=exported['backbone'],
                data_preprocessor={key: exported[key] for key in ('mean', 'std') if key in exported},
            )
        )
    elif isinstance(meta.get('cfg_text'), str):
        try:
            cfg = parse_config_text(meta['cfg_text'])
        except ConfigTextError as error:
            raise ConfigTextError(f'{path}: {error}. Give the config of the run with --config') from None
    else:
        return None
    model = cfg.get('model')
    return cfg if isinstance(model, dict) and isinstance(model.get('backbone'), dict) else None


def _buildable(cfg: Any, source: Source) -> Any:
    """A copy of the config that loads and compiles nothing; one from a checkpoint may name our parts only."""
    cfg = _plain(copy.deepcopy(cfg))
    if not source.trusted:
        try:
            check_types(cfg, MODELS)
        except ConfigTextError as error:
            raise ConfigTextError(f'{source.path}: {error}. Give the config of the run with --config') from None
    return cfg


def _plain(cfg: Any) -> Any:
    if isinstance(cfg, dict):
        return {key: _plain(value) for key, value in cfg.items() if key not in ('init_cfg', 'compiled')}
    return [_plain(value) for value in cfg] if isinstance(cfg, list) else cfg


def infer_model(state: Dict[str, Tensor]) -> Dict[str, Any]:
    """The config of an MAE (or of its encoder) from parameters in our names.

    A file does not state its number of heads: only widths and depths of the papers' encoders, with decoders of width
    512 and 16 heads, are recognised. Assumed are ImageNet's normalisation and a decoder of normalised pixels.

    Raises:
        ValueError: Another architecture.
    """

    def refuse(what: str) -> ValueError:
        return ValueError(f'there is no config in the checkpoint, and {what}: give the config with --config')

    if 'backbone.patch_embed.proj.weight' not in state or 'backbone.pos_embed' not in state:
        raise refuse('it holds no ViT with a position table')
    width, channels, *patch = state['backbone.patch_embed.proj.weight'].shape
    depth, prefix = _depth(state, 'backbone.blocks.'), int('backbone.cls_token' in state)
    arch = next((name for name, sizes in ARCHITECTURES.items() if sizes[:2] == (width, depth)), None)
    side = round((state['backbone.pos_embed'].shape[1] - prefix) ** 0.5)
    if arch is None or side**2 + prefix != state['backbone.pos_embed'].shape[1] or channels != 3:
        raise refuse(
            f'{depth} blocks of width {width} with {state["backbone.pos_embed"].shape[1]} positions for '
            f'images of {channels} channels are none of {", ".join(ARCHITECTURES)} for square RGB images'
        )
    model = dict(
        type='MAE',
        backbone=dict(
            type='MaskedViT',
            arch=arch,
            img_size=[side * length for length in patch],
            patch_size=list(patch),
            class_token=bool(prefix),
            final_norm='backbone.norm.weight' in state,
        ),
    )
    if 'neck.decoder_embed.weight' in state:
        decoder_width = len(state['neck.decoder_embed.weight'])
        if decoder_width != 512:
            raise refuse(f'a decoder of width {decoder_width} has an unknown number of heads')
        model.update(
            neck=dict(type='MAEDecoder', embed_dim=512, depth=_depth(state, 'neck.decoder_blocks.'), num_heads=16),
            target=dict(type='PixelTarget'),
            head=dict(type='ReconstructionHead'),
        )
    return model


def _depth(state: Dict[str, Tensor], prefix: str) -> int:
    return 1 + max((int(key[len(prefix) :].split('.')[0]) for key in state if key.startswith(prefix)), default=-1)


def load_algorithm(source: Source, **overrides: Any) -> nn.Module:
    """The whole pre-training model with the weights of the checkpoint, in evaluation mode.

    Args:
        source: From :func:`read_source`.
        **overrides: Keys of the algorithm's config to replace (``mask_ratio``, ``masking`` ...).

    Raises:
        ConfigTextError: The config inside the checkpoint names parts that are not ours.
        ValueError: The checkpoint has no decoder, or the model cannot reconstruct.
        EncoderMismatchError: The encoder does not fit.
    """
    state = to_mmmim(source.checkpoint) if detect_scheme(source.checkpoint) else unwrap(source.checkpoint)
    if not any(key.startswith(DECODERS) for key in state):
        raise ValueError(
            f'{source.path} has no decoder, and without one nothing can be reconstructed: give a '
            'checkpoint of a whole pre-training run (epoch_N.pth), not an encoder alone'
        )
    if all(source.cfg['model'].get(part.rstrip('.')) is None for part in DECODERS):
        raise ValueError(
            f'the model of {source.origin} has no decoder: give the config of the pre-training run with --config'
        )
    cfg = {**_buildable(source.cfg['model'], source), **overrides}
    model = MODELS.build(cfg)
    if not hasattr(model, 'predict') or not hasattr(model, 'masking'):
        raise ValueError(f'{type(model).__name__} ({source.origin}) is no pre-training method that masks patches')
    fill_encoder(model.backbone, source.checkpoint, logger='silent')
    _load_rest(model, state, source.path)
    return model.eval()


def _load_rest(model: nn.Module, state: Dict[str, Tensor], path: str) -> None:
    """Load all parts but the encoder. Those that pictures need must be in the file; a discriminator may be absent."""
    own = {key: value for key, value in model.state_dict().items() if not key.startswith('backbone.')}
    fitting = {key: state[key] for key in own if key in state and state[key].shape == own[key].shape}
    absent = [key for key in own if key not in fitting and key.startswith((*DECODERS, 'generator.', 'target.'))]
    if absent:
        shapes = [f'{key} {list(own[key].shape)} against {list(state[key].shape)}' for key in absent if key in state]
        raise ValueError(
            f'{path} does not hold this decoder; {len(absent)} parameters do not fit (config against '
            f'file): {"; ".join(shapes[:3] or absent[:3])}. Give the config that it was trained by with '
            '--config'
        )
    model.load_state_dict(fitting, strict=False)


def load_backbone(source: Source, img_size: Optional[Size] = None) -> Tuple[nn.Module, nn.Module]:
    """The encoder alone, in evaluation mode, and the preprocessor that normalises its images.

    Args:
        source: From :func:`read_source`.
        img_size: If different from the config's; the position embedding is resized.

    Raises:
        ConfigTextError: The config inside the checkpoint names a backbone that is not ours.
        EncoderMismatchError: The encoder does not fit.
    """
    model = source.cfg['model']
    cfg = _buildable(model['backbone'], source)
    if img_size is not None:
        cfg['img_size'] = img_size
    backbone = MODELS.build(cfg)
    fill_encoder(backbone, source.checkpoint, logger='silent')
    given = model.get('data_preprocessor') or source.cfg.get('data_preprocessor') or {}
    preprocessor = MODELS.build(
        dict(
            type='mmmim.MIMDataPreprocessor', mean=given.get('mean', IMAGENET_MEAN), std=given.get('std', IMAGENET_STD)
        )
    )
    return backbone.eval(), preprocessor


def build_pipeline(source: Source, img_size: Size, channels: int) -> List[Any]:
    """The config's test pipeline, or else a centre crop.

    Args:
        source: From :func:`read_source`.
        img_size: The model's; a pipeline with another output size is not used.
        channels: Likewise.
    """
    dataset = (source.cfg.get('test_dataloader') or {}).get('dataset') or {}
    while isinstance(dataset.get('dataset'), dict):  # inside wrappers
        dataset = dataset['dataset']
    pipeline = dataset.get('pipeline') or []
    try:
        check_types(pipeline, TRANSFORMS)
        sizes = [to_2tuple(transform['size']) for transform in pipeline if 'size' in transform]
        usable = sizes[-1:] == [to_2tuple(img_size)] and pipeline[-1]['type'].endswith('PackImage')
    except (ConfigTextError, TypeError, ValueError):
        usable = False
    if not usable:
        pipeline = [
            dict(type='LoadImage', channels=channels),
            dict(type='CenterCrop', size=list(to_2tuple(img_size))),
            dict(type='PackImage'),
        ]
    # with our scope: in another toolbox's scope its own would be found first
    return [
        TRANSFORMS.build({**transform, 'type': f'mmmim.{transform["type"].removeprefix("mmmim.")}'})
        for transform in pipeline
    ]
