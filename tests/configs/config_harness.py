"""Configs for tests: read, resolved, compared, and their models shrunk until they build in no time."""

import ast
import copy
import functools
from pathlib import Path

import numpy as np
import timm
import torch
from mmengine.config import Config

import mmmim.datasets
import mmmim.models  # noqa: F401
from mmmim.config.load import load_config
from mmmim.config.schedule import set_batch_and_lr, set_schedule
from mmmim.registry import MODELS, TRANSFORMS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts
)
GONE = '(not there)'


@functools.lru_cache(maxsize=None)
def _loaded(name):
    cfg = load_config(str(ROOT / name))
    cfg.pop('source')  # its path, for the record of a run
    return cfg


def config(name):
    return copy.deepcopy(_loaded(name))


def docstring(name):
    return ast.get_docstring(ast.parse((ROOT / name).read_text())) or ''


def bases(name):
    """What a config states as its ``_base_``."""
    for statement in ast.parse((ROOT / name).read_text()).body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], 'id', None) == '_base_':
            found = ast.literal_eval(statement.value)
            return [found] if isinstance(found, str) else found
    return []


def parents(name):
    """The configs that a config inherits from, below the repository."""
    own = [path for path in bases(name) if '::' not in path]
    return [((ROOT / name).parent / path).resolve().relative_to(ROOT).as_posix() for path in own]


def of_a_toolbox(name):
    """Whether a config inherits another package's, ``mmpretrain::...``: model, pipeline and keys are that one's."""
    return any('::' in path for path in bases(name)) or any(map(of_a_toolbox, parents(name)))


def stated(name):
    """The keys that a config states itself, flat; a dict that replaces its parent's (``_delete_``) is one key."""

    def below(node, key):
        keywords = node.keywords if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict' else []
        if not keywords or '_delete_' in (keyword.arg for keyword in keywords):
            return [key]
        return [found for keyword in keywords for found in below(keyword.value, f'{key}.{keyword.arg}')]

    body = [statement for statement in ast.parse((ROOT / name).read_text()).body if isinstance(statement, ast.Assign)]
    targets = [(getattr(part, 'id', None), s.value) for s in body for part in getattr(s.targets[0], 'elts', s.targets)]
    return [key for target, value in targets if target != '_base_' for key in below(value, target)]


@functools.lru_cache(maxsize=None)
def plain(name):
    """What is written in a config and in its parents, as a dict: nothing that follows is filled in."""
    return Config.fromfile(str(ROOT / name))._cfg_dict.to_dict()


def resolved(name, processes=8):
    cfg = config(name)
    set_schedule(cfg)
    set_batch_and_lr(cfg, processes)
    return cfg


def flat(node, name=''):
    """``{'a.b': value}``; lists are values."""
    if not isinstance(node, dict):
        return {name: node}
    return {
        key: value
        for part, below in node.items()
        for key, value in flat(below, f'{name}.{part}' if name else part).items()
    }


def changed(name, default):
    """The keys in which a config differs from another one, with its values; the work dir, named after it, aside."""
    own, other = flat(config(name).to_dict()), flat(config(default).to_dict())
    return {
        key: own.get(key, GONE)
        for key in {**own, **other}
        if key != 'work_dir' and own.get(key, GONE) != other.get(key, GONE)
    }


def shrunk(cfg):
    """The model's config with small blocks and heads; images, patches, target and masking stay."""
    model = cfg.model
    if model.type == 'CrossMAE':
        return _shrink_drawing(model)
    if model.type == 'VisionELECTRA':
        return _shrink_two_networks(model)
    if model.backbone.type == 'MaskedSwin':
        model.backbone.arch = dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
    elif model.backbone.type == 'ConvViT':
        model.backbone.arch = dict(embed_dims=(12, 24, 48), depths=(1, 1, 2), num_heads=3)
    elif isinstance(model.backbone.arch, str):
        model.backbone.arch = dict(embed_dim=48, depth=2, num_heads=3)
    if model.neck.type == 'MAEDecoder':  # SimMIM's has no size of its own
        model.neck.update(embed_dim=48, depth=min(model.neck.depth, 2), num_heads=3)
    if model.type == 'CMAE':
        _shrink_contrast(model)
    return model


def _shrink_contrast(model):
    decoder = model.feature_decoder
    if decoder is not None and decoder.type == 'SharedDecoder':
        if 'num_blocks' in decoder:
            decoder.num_blocks = min(decoder.num_blocks, model.neck.depth)
    elif decoder is not None:
        decoder.update(embed_dim=48, depth=min(decoder.depth, 2), num_heads=3)
    if model.get('feature_out') == 'pixels':  # one projector serves pixels and features, which are as many in ViT-B
        model.backbone.arch = dict(embed_dim=768, depth=1, num_heads=12)
    for head in (model.projector, model.predictor):
        head.update(hidden_dim=32, out_dim=16)


def _shrink_drawing(model):
    if model.backbone.type == 'MaskedSwin':
        model.backbone.arch = dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
    else:  # without a predictor, the backbone is as wide as the target
        model.backbone.arch = dict(embed_dim=768 if model.predictor is None else 48, depth=1, num_heads=3)
    if model.drawing_head.type == 'DrawingHead':
        model.drawing_head.update(embed_dim=16, num_heads=2)
    if model.predictor is not None and not isinstance(model.predictor, list) and model.predictor.type == 'MAEDecoder':
        model.predictor.update(embed_dim=48, depth=1, num_heads=3)
    return model


def _shrink_two_networks(model):
    model.pretrained_generator = None
    for network in (model.generator, model.backbone):
        network.pop('init_cfg', None)
        if network.type == 'MaskedSwin':
            network.arch = dict(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 1, 2, 2))
        elif isinstance(network.arch, str):
            network.arch = dict(embed_dim=48, depth=2, num_heads=3)
    if model.neck.type == 'MAEDecoder':
        model.neck.update(embed_dim=48, depth=2, num_heads=3)
    return model


STAND_INS = {'efficientnet-lite0': 'tf_efficientnet_lite0'}


def without_weights(monkeypatch):
    """Let one random block stand for CLIP's encoder, and random values for the weights of CLIP, VGG-16 and others."""
    from timm.models import VisionTransformer

    from mmmim.models.networks import Network
    from mmmim.models.targets import timm_network, timm_vit, vgg

    def encoder(name):
        network = VisionTransformer(embed_dim=768, depth=1, num_heads=12, num_classes=512, pre_norm=True)
        network.pretrained_cfg = dict(mean=(0.5,) * 3, std=(0.5,) * 3)
        return network

    def public(name, **_):
        model = STAND_INS.get(name, name.removeprefix('timm:'))
        network = timm.create_model(model, pretrained=False, num_classes=0).eval()
        return Network(network, name, 'unknown', (127.0,) * 3, (128.0,) * 3, (224, 224), 'bicubic', 0.875, None)

    monkeypatch.setattr(timm_network, 'open_network', public)
    monkeypatch.setattr(timm_vit, 'create', encoder)
    monkeypatch.setattr(timm_vit, 'find_in_cache', lambda *_: '')
    monkeypatch.setattr(timm_vit, 'load_vit', lambda *_: None)
    monkeypatch.setattr(vgg, 'load_vgg', lambda *_: None)


def read(pipeline, photo, seed=0):
    np.random.seed(seed)
    sample = dict(img_path=photo)
    for step in pipeline:
        sample = TRANSFORMS.build(step)(sample)
    return sample


def first_losses(model_cfg, pipeline, photo):
    """The losses on two images that came through the pipeline, of a freshly built model."""
    torch.manual_seed(0)
    model = MODELS.build(model_cfg)
    batch = mmmim.datasets.mim_collate([read(pipeline, photo, seed) for seed in (0, 1)])
    batch = model.data_preprocessor(batch, True)
    if getattr(model.target, 'cache', False):
        model.target.cache = False  # a hook of the run fills it
    if model.target.needs_fit:
        model.target.fit([batch['inputs']])
    return {key: value for key, value in model(**batch, mode='loss').items() if 'loss' in key}
