"""Build a model for inference from a checkpoint file, with or without its training config."""

import copy
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from mmengine.registry import init_default_scope
from torch import Tensor, nn

from ..checkpoint.config_text import ConfigTextError, check_types
from ..checkpoint.encoder import EncoderFile, open_encoder
from ..checkpoint.fit import count_tokens
from ..checkpoint.schemes.names import encoder_depth
from ..config.images import loading_steps, stated_images
from ..config.load import load_config
from ..config.prepare import set_up_scope, settle
from ..models.backbones.vit import ARCHITECTURES
from ..models.build import NOT_ARCHITECTURE
from ..models.patches import Size, to_2tuple
from ..models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ..positions import find_grid
from ..registry import MODELS, TRANSFORMS

DECODERS = ('neck.', 'drawing_head.')  # parts that reconstruct, in any method


class Source(NamedTuple):
    """A checkpoint and what is known of the model in it."""

    file: EncoderFile
    cfg: Dict[str, Any]  # at least cfg['model']['backbone']
    origin: str  # where cfg is from, in words
    trusted: bool  # the user gave the config: it may use any part


def read_source(
    path: str, config: Optional[str] = None, prefix: Optional[str] = None, file: Optional[EncoderFile] = None
) -> Source:
    """Read a checkpoint, and find the config that goes with it.

    The config is ``config`` if given; else the one inside the checkpoint, which is parsed and never executed, and
    from which only this project's own parts are built; else it is inferred from the shapes, for the papers' ViTs.

    Args:
        path: A file or an address.
        config: Path of a config.
        prefix: Which network, where the file holds several, as in :func:`~mmmim.checkpoint.encoder.open_encoder`.
        file: What that function made of the path, where it has been read.

    Raises:
        FileNotFoundError: No such file.
        ConfigTextError: The config inside the checkpoint is more than plain values.
        EncoderMismatchError: There is no encoder in it.
        ValueError: There is no config and the shapes do not determine the model.
    """
    file = open_encoder(path, prefix) if file is None else file
    for note in file.notes:
        print(f'{path}: {note}', file=sys.stderr)
    if config is not None:
        cfg = load_config(config)
        set_up_scope(cfg)
        cfg.load_from = path  # states how images are read where the weights it began with are not here
        settle(cfg, with_data=False)
        return Source(file, cfg._cfg_dict.to_dict(), config, True)
    init_default_scope('mmmim')
    if file.config_error:
        raise ConfigTextError(f'{path}: {file.config_error}. Give the config of the run with --config')
    if file.config and is_ours(file.model['backbone']):
        return Source(file, file.config, 'the config inside the checkpoint', False)
    return Source(file, dict(model=infer_model(file)), 'the shapes of the parameters', True)


def is_ours(backbone: Dict[str, Any]) -> bool:
    """Whether the config of a backbone names one of this project's."""
    if not backbone.get('type'):
        return False
    try:
        check_types(backbone, MODELS)
    except ConfigTextError:
        return str(backbone.get('type')).removeprefix('mmpretrain.') not in ('VisionTransformer', 'MAEViT')
    return True


def _buildable(cfg: Any, source: Source) -> Any:
    """A copy of the config that loads and compiles nothing; one from a checkpoint may name our parts only."""
    cfg = _plain(copy.deepcopy(cfg))
    if not source.trusted:
        try:
            check_types(cfg, MODELS)
        except ConfigTextError as error:
            raise ConfigTextError(f'{source.file.path}: {error}. Give the config of the run with --config') from None
    return cfg


def _plain(cfg: Any) -> Any:
    if isinstance(cfg, dict):
        return {key: _plain(value) for key, value in cfg.items() if key not in NOT_ARCHITECTURE}
    return [_plain(value) for value in cfg] if isinstance(cfg, list) else cfg


def infer_model(file: EncoderFile) -> Dict[str, Any]:
    """The config of an MAE (or of its encoder) from parameters.

    Where nothing states the number of heads, only widths and depths of the papers' encoders are recognised, with
    decoders of width 512 and 16 heads. Assumed are ImageNet's normalisation and a decoder of normalised pixels.

    Raises:
        ValueError: Another architecture.
    """
    state = file.whole()

    def refuse(what: str) -> ValueError:
        return ValueError(f'there is no config in the checkpoint, and {what}: give the config with --config')

    file.check(allow_unused=True)
    if not {'patch_embed.proj.weight', 'pos_embed', 'blocks.0.mlp.fc1.weight'} <= file.encoder.keys():
        raise refuse('it holds no ViT with a position table')
    width, channels, *patch = file.encoder['patch_embed.proj.weight'].shape
    depth, rows = encoder_depth(file.encoder), file.encoder['pos_embed'].shape[1]
    classes, registers = (file.encoder[n].shape[1] if n in file.encoder else 0 for n in ('cls_token', 'reg_token'))
    papers = next((sizes[2] for sizes in ARCHITECTURES.values() if sizes[:2] == (width, depth)), None)
    heads = file.num_heads() or papers
    found = find_grid(file.encoder['pos_embed'], count_tokens(file.encoder)[1], stated=file.grid)
    if heads is None or found is None or channels != 3:
        raise refuse(
            f'{depth} blocks of width {width} with {rows} positions for images of {channels} channels are none of '
            f'{", ".join(ARCHITECTURES)} for square RGB images'
        )
    mlp_ratio = len(file.encoder['blocks.0.mlp.fc1.weight']) / width
    model = dict(
        type='MAE',
        backbone=dict(
            type='MaskedViT',
            arch=dict(embed_dim=width, depth=depth, num_heads=heads, mlp_ratio=mlp_ratio),
            img_size=[n * length for n, length in zip(found.grid, patch)],
            patch_size=list(patch),
            class_token=classes > 0,
            **(dict(num_class_tokens=classes) if classes else {}),
            num_register_tokens=registers,
            final_norm='backbone.norm.weight' in state,
        ),
    )
    if len(state.get('neck.decoder_embed.weight', ())) == 512:  # the heads of others are not known
        blocks = encoder_depth(state, 'neck.decoder_blocks.')
        model.update(
            neck=dict(type='MAEDecoder', embed_dim=512, depth=blocks, num_heads=16),
            target=dict(type='PixelTarget'),
            head=dict(type='ReconstructionHead'),
        )
    return model


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
    state = source.file.whole()
    if not any(key.startswith(DECODERS) for key in state):
        raise ValueError(
            f'{source.file.path} has no decoder, and without one nothing can be reconstructed: give a '
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
    model.backbone.load_pretrained(source.file, logger='silent')
    _load_rest(model, state, source.file.path)
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
    backbone.load_pretrained(source.file, logger='silent')
    given = model.get('data_preprocessor') or source.cfg.get('data_preprocessor') or {}
    preprocessor = MODELS.build(
        dict(
            type='mmmim.MIMDataPreprocessor', mean=given.get('mean', IMAGENET_MEAN), std=given.get('std', IMAGENET_STD)
        )
    )
    return backbone.eval(), preprocessor


def build_pipeline(source: Source, img_size: Size, channels: int) -> List[Any]:
    """The config's test pipeline at the model's size, or else a centre crop.

    Args:
        source: From :func:`read_source`.
        img_size: The model's. A pipeline of another size is brought to it if one transform alone has a size.
        channels: Likewise.

    Images are read as in training where the test pipeline states no channels or range.
    """
    dataset = (source.cfg.get('test_dataloader') or {}).get('dataset') or {}
    while isinstance(dataset.get('dataset'), dict):  # inside wrappers
        dataset = dataset['dataset']
    pipeline = dataset.get('pipeline') or []
    try:
        check_types(pipeline, TRANSFORMS)
        sizes = [to_2tuple(transform['size']) for transform in pipeline if 'size' in transform]
        if len(sizes) == 1:
            sizes, wanted = [to_2tuple(img_size)], dict(size=list(to_2tuple(img_size)))
            pipeline = [{**transform, **wanted} if 'size' in transform else transform for transform in pipeline]
        usable = sizes[-1:] == [to_2tuple(img_size)] and pipeline[-1]['type'].endswith('PackImage')
    except (ConfigTextError, TypeError, ValueError):
        usable = False
    if not usable:
        pipeline = [
            dict(type='LoadImage', channels=channels),
            dict(type='CenterCrop', size=list(to_2tuple(img_size))),
            dict(type='PackImage'),
        ]
    pipeline = copy.deepcopy(list(pipeline))
    for step in loading_steps(pipeline):  # as in training
        for key, value in stated_images(source.cfg).items():
            step.setdefault(key, value)
    # with our scope: in another toolbox's scope its own would be found first
    return [
        TRANSFORMS.build({**transform, 'type': f'mmmim.{transform["type"].removeprefix("mmmim.")}'})
        for transform in pipeline
    ]
