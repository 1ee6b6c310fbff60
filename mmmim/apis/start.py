"""What a pre-training run starts from: public weights, a checkpoint of any project, or another run."""

import difflib
import os
import os.path as osp
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import timm
from timm.models import save_for_hf

from ..checkpoint.newest import newest_checkpoint
from ..checkpoint.write import export_encoder
from ..config.images import stated_images
from ..engine.hooks.checkpoint import START_ENCODER
from ..engine.hooks.run_record import read_record
from ..models.backbones.base import BaseEncoder
from ..models.networks import EXPORTED, Network, is_public, open_network, origin_licence
from ..models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from .from_checkpoint import Source, load_backbone, read_source

# as a run's own evaluation: the start is compared with what comes of it
PIPELINE = [dict(type='LoadImage'), dict(type='CenterCrop', size=224, ratio=1.0), dict(type='PackImage')]
DECODER = 'neck.decoder_pred.'  # what the original MAE's decoder ends in


class Start(NamedTuple):
    """Weights that a run starts from.

    Attributes:
        name: As it was asked for.
        kind: ``'public'``, ``'run'`` or ``'file'``.
        path: The file; None for a public network without one.
        licence: Of the weights; ``'unknown'`` where nothing states it.
        source: The checkpoint and its config.
        encoder: Built and filled.
        mean, std: Of its images, in units of 0..255.
    """

    name: str
    kind: str
    path: Optional[str]
    licence: str
    source: Source
    encoder: BaseEncoder
    mean: Tuple[float, ...]
    std: Tuple[float, ...]

    @property
    def backbone(self) -> Dict[str, Any]:
        """The config of the encoder."""
        return dict(self.source.cfg['model']['backbone'])

    @property
    def paints(self) -> bool:
        """Whether a decoder of pixels stands beside the encoder."""
        target = (self.source.cfg['model'].get('target') or {}).get('type', 'PixelTarget')
        decoder = any(name.startswith(DECODER) for name in self.source.file.others)
        return decoder and target in ('PixelTarget', 'mmmim.PixelTarget')

    @property
    def decoder(self) -> Optional[Dict[str, Any]]:
        """The config of its decoder of pixels; None for weights without one, or with one whose heads are not known."""
        neck = self.source.cfg['model'].get('neck') or {}
        known = self.paints and self.path is not None and neck.get('type') in ('MAEDecoder', 'mmmim.MAEDecoder')
        return dict(neck) if known else None

    @property
    def normalised_pixels(self) -> bool:
        """Whether that decoder predicts normalised pixels, as the original MAE's does."""
        return self.source.file.normalised_pixels() is not False

    def describe(self) -> str:
        """The encoder in words."""
        encoder: Any = self.encoder
        blocks = len(encoder.blocks if hasattr(encoder, 'blocks') else encoder.layers)  # stages of a Swin
        registers = f', {encoder.num_register_tokens} registers' if encoder.num_register_tokens else ''
        return f'{type(encoder).__name__} of {blocks} blocks of width {encoder.embed_dim}{registers}'

    def write(self, folder: str) -> str:
        """Write the encoder to ``folder/candidates/start.safetensors``, in this project's form; returns the path."""
        path = osp.join(folder, START_ENCODER)
        os.makedirs(osp.dirname(path), exist_ok=True)
        pipeline = [dict(PIPELINE[0], **stated_images(self.source.cfg)), *PIPELINE[1:]]
        facts = dict(backbone=self.backbone, mean=list(self.mean), std=list(self.std), pipeline=pipeline)
        export_encoder(self.encoder, path, dict(facts, algorithm='start', start=self.facts()))
        return path

    def facts(self) -> Dict[str, str]:
        """For ``run.json`` and the exported encoder."""
        return dict(name=self.name, kind=self.kind, licence=self.licence)


def find_start(model: str, sizes: Sequence[str]) -> Start:
    """Open what ``--model`` names, other than a size.

    Args:
        model: ``'timm:NAME'``, ``'hf-hub:NAME'``, the path of a checkpoint of any project, or the folder of a run.
        sizes: Names of random starts, for the message.

    Raises:
        ValueError: An unknown name, or a network that no encoder here computes: the message says how it can be used.
        FileNotFoundError: Weights that are not here and cannot be fetched.
    """
    if osp.isdir(model):
        return _of_run(model)
    if osp.isfile(model):
        source = read_source(model)
        return _start(model, 'file', model, _stored_licence(source), source)
    if not is_public(model):
        raise ValueError(_unknown(model, sizes))
    network, path = open_network(model), None
    if network.path and osp.isfile(osp.join(osp.dirname(network.path), 'config.json')):
        path = network.path  # a decoder may stand beside the encoder
    source = read_source(path) if path else _source_of_module(network)
    return _start(model, 'public', path, network.licence, source, network.mean, network.std)


def _of_run(folder: str) -> Start:
    """A run's newest checkpoint, which has the decoder too; its exported encoder where that is not the last one."""
    exported = osp.join(folder, EXPORTED)
    path: Optional[str] = None if _kept_another(folder) else newest_checkpoint(folder)
    path = path or (exported if osp.isfile(exported) else None)
    if path is None:
        raise FileNotFoundError(
            f'{folder} holds no checkpoint and no encoder.safetensors: --model takes a finished run'
        )
    source = read_source(path)
    return _start(folder, 'run', path, _stored_licence(source, folder), source)


def _kept_another(folder: str) -> bool:
    kept = read_record(folder).get('kept')
    return isinstance(kept, dict) and kept.get('chosen') not in (None, 'last')


def _stored_licence(source: Source, folder: str = '') -> str:
    """The licence of what a run of this project started from and learned from, as far as it was noted; empty for a run
    that began at random weights."""
    for facts in (source.cfg, source.file.config, read_record(folder) if folder else {}):
        found = origin_licence(facts)
        if found is not None:
            return found
    return 'unknown'


def _source_of_module(network: Network) -> Source:
    """A timm module by way of a file, as timm saves it: the same checks as for any checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        save_for_hf(
            network.module, folder, model_args=getattr(network.module, 'model_args', None), safe_serialization=True
        )
        path = osp.join(folder, 'model.safetensors')
        try:
            source = read_source(path)
        except ValueError as error:
            reason = str(error).replace(f'{path}: ', '').partition('. Frozen')[0]
            raise ValueError(
                f'{network.name} cannot be trained from here. {reason}. It can be used frozen (`mmmim embed`, `mmmim '
                f'compare`), and as a target: --target {network.name} with a size as --model'
            ) from None
    source.file.path = network.name
    return source


def _start(
    name: str,
    kind: str,
    path: Optional[str],
    licence: str,
    source: Source,
    mean: Optional[Sequence[float]] = None,
    std: Optional[Sequence[float]] = None,
) -> Start:
    stated = source.cfg['model'].get('data_preprocessor') or {}
    timms = source.file.hub.get('pretrained_cfg') or {}  # in units of 0..1
    mean = mean or stated.get('mean') or [255 * value for value in timms.get('mean') or ()] or IMAGENET_MEAN
    std = std or stated.get('std') or [255 * value for value in timms.get('std') or ()] or IMAGENET_STD
    encoder, _ = load_backbone(source)
    return Start(name, kind, path and osp.abspath(path), licence, source, encoder, tuple(mean), tuple(std))


def _unknown(model: str, sizes: Sequence[str]) -> str:
    names: List[str] = difflib.get_close_matches(model.partition('.')[0], timm.list_models(), n=2, cutoff=0.7)
    close = difflib.get_close_matches(model, sizes, n=1) or [f'timm:{name}' for name in names]
    hint = f'; close: {", ".join(close)}' if close else ''
    return (
        f'model={model!r} is not known: it is a size ({", ".join(sizes)}: random weights), timm:NAME, hf-hub:NAME, the '
        f'file of a checkpoint or the folder of a run, and there is no such file or folder{hint}'
    )
