"""The one way into an encoder: any checkpoint, completely or not at all."""

import os.path as osp
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from typing import Any, Callable, Collection, Dict, List, Optional, Protocol, Sequence, Union

from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from ..positions import Grid, find_grid, resize_pos_embed
from .config_text import ConfigTextError, stated_grid, stored_config
from .fit import PATCHES, check, fit_tensors
from .kinds import ambiguous, hub_config, is_same_network, timm_model, unsupported
from .peel import EncoderMismatchError, Network, find_network, unwrap
from .read import AnyPath, StateDict
from .schemes import SCHEMES, Scheme, translate
from .schemes.names import BESIDE, list_names

__all__ = [
    'EncoderFile',
    'EncoderMismatchError',
    'LoadReport',
    'detect_scheme',
    'encoder_state_dict',
    'fill_encoder',
    'from_mmmim',
    'left_out',
    'open_encoder',
    'resize_pos_embed',
    'to_mmmim',
]

Unused = Union[bool, str, Sequence[str]]


class Encoder(Protocol):
    """What :func:`fill_encoder` needs of a backbone: timm's names, and the grid of its position table."""

    grid_size: Grid
    num_prefix_tokens: int

    def state_dict(self) -> StateDict: ...

    def load_state_dict(self, state_dict: StateDict, strict: bool = True) -> Any: ...


@dataclass
class EncoderFile:
    """An encoder as it came out of a checkpoint.

    Attributes:
        encoder: Its parameters, in timm's names without a prefix.
        others: What stands beside it, in our names where they are known (``neck.``, ``head.``, ``fc_norm.``).
        scheme: Whose names the file has.
        config: The one in the file, with at least ``model.backbone``; empty without one.
        model: ``model`` in it; empty without one.
        grid: Of patches, if the config states it.
        config_error: Why the config in the file could not be read; empty if it was.
        part: Key of the encoder's config in it.
        path: Of the file; empty where a content was given.
        notes: What was chosen.
        network: Path of the network in the file, such as ``teacher.backbone``.
        arch: What the file calls its architecture.
        apart: Names of ``others`` that stood outside of the network.
        added: What the file does not have in front of its decoder's names.
        hub: The ``config.json`` of Hugging Face or timm beside the file.
        timms: The model that it names, if it is timm's, without values.
    """

    encoder: StateDict
    others: StateDict
    scheme: Scheme
    config: Dict[str, Any] = field(default_factory=dict)
    model: Dict[str, Any] = field(default_factory=dict)
    grid: Optional[Grid] = None
    config_error: str = ''
    part: str = 'backbone'
    path: str = ''
    notes: List[str] = field(default_factory=list)
    network: str = ''
    arch: str = ''
    apart: Collection[str] = ()
    added: str = ''
    hub: Dict[str, Any] = field(default_factory=dict)
    timms: Any = None

    def whole(self) -> StateDict:
        """All parameters in our names."""
        return {**{f'backbone.{name}': value for name, value in self.encoder.items()}, **self.others}

    def check(self, allow_unused: Unused = False) -> None:
        """Whether all of the encoder is there, and nothing else that may belong to it.

        Args:
            allow_unused: True, or the beginnings of names that may be left out.

        Raises:
            EncoderMismatchError: Something beside the encoder is of no known decoder, head, projector or momentum copy;
                or the encoder's positions are neither in the file nor known to follow from its project.
        """
        if isinstance(allow_unused, (bool, str)):
            allow_unused = [''] if allow_unused is True else [allow_unused] if allow_unused else []
        starts = (*allow_unused, *(f'{key}.' for key in self.model if key != 'backbone'))
        known = self.scheme.beside and re.compile(self.scheme.beside)
        unknown = [
            name
            for name in self.others
            if not (name.startswith(starts) or BESIDE.match(name) or known and known.match(name))
        ]
        name = self.path or 'The checkpoint'
        if unknown:
            raise EncoderMismatchError(
                f'{name} holds parameters beside the encoder that are of no known decoder, head, projector or momentum '
                f'copy: {list_names(unknown, 12)}. They may belong to the encoder, so nothing was loaded. If they do '
                'not: allow_unused=True, or a list of the beginnings of their names.'
            )
        self._check_shapes(name)
        is_vit = PATCHES in self.encoder and any(key.startswith('blocks.') for key in self.encoder)
        if not is_vit or any('pos_embed' in key or 'relative_position' in key for key in self.encoder):
            return
        if self.rebuilt_positions(4, (1, 1), 0) is None:
            raise EncoderMismatchError(
                f'{name} has no position table, and its project is not known to compute one; networks with rotary '
                'positions (DINOv3, EVA-02) have none. Nothing here computes the same. Frozen, it can be used by timm: '
                "timm.create_model(NAME, checkpoint_path='FILE')."
            )

    def _check_shapes(self, name: str) -> None:
        for key in ('cls_token', 'reg_token', 'pos_embed'):
            if key in self.encoder and self.encoder[key].ndim != 3:
                raise EncoderMismatchError(f'{name}: {key} is {list(self.encoder[key].shape)}, not [1, N, D].')
        strange = [key for key, value in self.encoder.items() if not value.is_floating_point() and value.ndim]
        if strange:
            kinds = ', '.join(sorted({str(self.encoder[key].dtype) for key in strange}))
            raise EncoderMismatchError(f'{name}: {list_names(strange, 5)} of its encoder are {kinds}, not float.')
        blocks = {key.split('.')[1] for key in self.encoder if key.startswith('blocks.')}
        absent = [str(number) for number in range(len(blocks)) if str(number) not in blocks]
        if absent:
            raise EncoderMismatchError(
                f'{name}: of {len(blocks)} blocks {", ".join(absent[:5])} are missing; there is {sorted(blocks)[-1]}.'
            )

    def num_heads(self) -> Optional[int]:
        """Of attention, as far as the config in the file, a ``config.json`` beside it or the project tells."""
        cfg = self.model.get(self.part)
        arch = cfg.get('arch') if isinstance(cfg, dict) else None
        width = len(self.encoder[PATCHES]) if PATCHES in self.encoder else 0
        stated = arch.get('num_heads') if isinstance(arch, dict) else self.hub_facts().get('num_heads')
        if stated is None and self.scheme.name == 'mmpretrain' and arch in ('s', 'small'):
            stated = 8  # of 768 channels
        moco = self.arch == 'vit_small' or re.search(r'(base|momentum)_encoder', self.network)
        if stated is None and width == 384 and moco:
            stated = 12  # MoCo v3's small ViT
        return stated if isinstance(stated, int) and stated > 0 else None

    def rebuilt_positions(self, width: int, grid: Grid, prefix: int) -> Optional[Tensor]:
        """The position table that the file's project computes and does not store; None for other projects."""
        return self.scheme.absent_positions(self.whole().keys(), width, grid, prefix)

    def normalised_pixels(self) -> Optional[bool]:
        """Whether the decoder in the file predicts normalised pixels: by its config, or by the original MAE's file
        names. None if neither tells."""
        target, head = (self.model.get(key) for key in ('target', 'head'))
        if isinstance(target, dict) and str(target.get('type')).endswith('PixelTarget'):
            return bool(target.get('norm_pix', True))
        if isinstance(head, dict) and 'norm_pix' in head:  # mmpretrain's MAE
            return bool(head['norm_pix'])
        if 'mae_visualize' in osp.basename(self.path):
            return False
        return True if re.search(r'mae_pretrain_\w+_full', osp.basename(self.path)) else None

    def hub_facts(self) -> Dict[str, Any]:
        """``num_heads`` and ``eps``, as far as the ``config.json`` beside the file says them."""
        if self.timms is not None and hasattr(self.timms, 'blocks'):
            block = self.timms.blocks[0]
            return dict(num_heads=block.attn.num_heads, eps=block.norm1.eps)
        stated = dict(num_heads=self.hub.get('num_attention_heads'), eps=self.hub.get('layer_norm_eps'))
        return {key: value for key, value in stated.items() if value is not None and self.scheme.name == 'hf'}


@dataclass
class LoadReport:
    """Report of :func:`fill_encoder`.

    Attributes:
        matched: Number of keys.
        unused: Keys of the file by first name.
        found: Those of ``new`` that the file has.
        notes: What was changed to fit.
    """

    matched: int = 0
    unused: Dict[str, int] = field(default_factory=dict)
    found: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)

    def __str__(self) -> str:
        unused = ', '.join(f'{name} ({count})' for name, count in sorted(self.unused.items())) or 'none'
        return '\n'.join(
            [f'Encoder loaded: {self.matched} keys matched. Keys of the file not used: {unused}.', *self.notes]
        )


def open_encoder(
    checkpoint: Union[AnyPath, Dict[str, Any]],
    prefix: Optional[str] = None,
    part: Optional[str] = None,
    logger: Any = 'silent',
    path: str = '',
) -> EncoderFile:
    """The encoder in a checkpoint: any naming scheme, wrapped or not, a whole model or an encoder alone.

    Args:
        checkpoint: A path or address; or the content of a file, as :func:`mmmim.checkpoint.load_file` returns it.
        prefix: Which network, where the file holds several: the end of the path to it, such as ``student`` or
            ``target_backbone``. None, an empty text and ``backbone.`` stand for the one that its project evaluates.
        part: Another name of ``prefix``.
        logger: As in MMEngine's ``print_log``.
        path: Of the file whose content is given, for messages and what lies beside it.

    Raises:
        EncoderMismatchError: There is no encoder, or one of a kind that nothing here can build.
    """
    content: Any = checkpoint
    if isinstance(checkpoint, (str, PathLike)):
        path = fspath(checkpoint)
        content = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger=logger)
    if prefix is not None and part is not None and prefix != part:
        raise ValueError(f'prefix={prefix!r} and part={part!r} are two names of one argument: give one of them.')
    config, config_error = {}, ''
    try:
        config = stored_config(content)
    except ConfigTextError as error:
        config_error = str(error)
    try:
        network = find_network(content, prefix if part is None else part)
        arch = content.get('arch')
        if content is not checkpoint:
            content.clear()  # its memory can be freed as tensors are translated
        file = _translated(network, config, hub_config(path) if path else {})
    except ValueError as error:
        raise EncoderMismatchError(f'{path}: {error}' if path else str(error)) from None
    return replace(file, path=path, config_error=config_error, arch=arch if isinstance(arch, str) else '')


def _translated(network: Network, config: Dict[str, Any], hub: Dict[str, Any]) -> EncoderFile:
    scheme, names = network.scheme, [name.removeprefix('backbone.') for name in network.state]
    added = '' if any(name.startswith('neck.') for name in names) else 'neck.'
    whole = scheme.to_ours(network.state)
    encoder = {name[len('backbone.') :]: value for name, value in whole.items() if name.startswith('backbone.')}
    timms = timm_model(hub) if 'architecture' in hub else None
    if timms is not None and not is_same_network(timms, names, encoder):
        timms = None  # of another file in the folder
    # what stands beside the encoder tells nothing of it, but a name that no table knows may be a part of it
    unknown = {name: value for name, value in whole.items() if not name.startswith('backbone.')}
    odd = {name: v for name, v in unknown.items() if scheme.name != 'mmmim' and not BESIDE.match(name)}
    reason = unsupported({**odd, **encoder}, timms, hub if scheme.name == 'hf' else {}, config)
    if reason:
        raise EncoderMismatchError(reason)
    notes = [network.choice()] if network.others else []
    notes += ambiguous(names) if timms is None else []
    part, model = network.path.split('.')[-1] if network.asked_for else 'backbone', config.get('model', {})
    return EncoderFile(
        encoder,
        {**network.beside, **unknown},
        scheme,
        config=config,
        model=model,
        grid=stated_grid(model, part),
        part=part,
        notes=notes,
        network=network.path,
        apart=set(network.beside),
        added=added,
        hub=hub,
        timms=timms,
    )


def fill_encoder(
    module: Encoder,
    checkpoint: Union[AnyPath, Dict[str, Any], EncoderFile],
    prefix: Optional[str] = None,
    part: Optional[str] = None,
    resize_patches: bool = False,
    adapt_channels: bool = False,
    allow_unused: Unused = False,
    logger: Any = None,
    new: Collection[str] = (),
    fit: Callable[[str, Tensor], Tensor] = lambda name, value: value,
    left_out: str = '',
) -> LoadReport:
    """Loads an encoder into a module of ours completely or not at all, and logs a report.

    Position embeddings of another grid (see :func:`mmmim.positions.find_grid`), also relative ones, are resized; one
    that the file's project is known to leave out is rebuilt. Class and register tokens that a module without such
    tokens does not have are dropped. A final norm (mean-pooled or dense models) or a mask token that the module does
    not have is not used. A layer scale that it does not have is multiplied into the layers before it, which computes
    the same.

    Args:
        module: A backbone with timm's names, ``grid_size`` (h, w) and ``num_prefix_tokens``.
        checkpoint: A path or address, the content of a file, or what :func:`open_encoder` returned.
        prefix, part: As in :func:`open_encoder`.
        resize_patches: Resample a patch projection of another patch size, by FlexiViT's pseudo-inverse
            (Beyer et al., 2023, "PI-resize"), instead of refusing it.
        adapt_channels: Adapt a patch projection for another number of channels as timm does: summed for one channel,
            repeated and scaled for others.
        allow_unused: True, or beginnings of names that may stand beside the encoder though they are not known.
        logger: As in MMEngine's ``print_log``.
        new: Parameters of the module that the file may lack; they keep their values then.
        fit: Resizes one of those to the module's shape, given its name and the file's value.
        left_out: Parameters of the file's encoder that begin so are not loaded.

    Raises:
        EncoderMismatchError: With the missing and unexpected names, and both shapes of those that differ.
    """
    file = checkpoint if isinstance(checkpoint, EncoderFile) else open_encoder(checkpoint, prefix, part, logger)
    file.check(allow_unused)
    _check_heads(file, module)
    encoder, wanted = dict(file.encoder), dict(module.state_dict())
    report, unused = LoadReport(notes=list(file.notes)), [name.removeprefix(file.added) for name in file.others]
    kept = {name: wanted.pop(name) for name in new}
    report.found = [name for name in new if name in encoder]
    kept.update({name: fit(name, encoder.pop(name)) for name in report.found})
    unused += [name for name in encoder if left_out and name.startswith(left_out)]
    encoder = {name: value for name, value in encoder.items() if not left_out or not name.startswith(left_out)}
    unused += fit_tensors(
        encoder, wanted, module, file.grid, file.rebuilt_positions, resize_patches, adapt_channels, report.notes
    )
    report.matched = len(encoder)
    if 'mask_token' in wanted and 'mask_token' not in encoder:  # other encoders do not learn one
        encoder['mask_token'] = wanted['mask_token']
        report.notes.append('The file has no mask token for the encoder: the module keeps its own.')
    check(encoder, wanted, module.grid_size, file.path)
    module.load_state_dict({**encoder, **kept}, strict=True)
    report.unused = dict(Counter(name.split('.')[0] for name in unused))
    print_log(str(report), logger=logger)
    return report


def _check_heads(file: EncoderFile, module: Any) -> None:
    """Shapes do not tell the number of heads: the same parameters with another one are another network."""
    stated, blocks = file.num_heads(), getattr(module, 'blocks', None)
    own = next((part.num_heads for part in blocks.modules() if hasattr(part, 'num_heads')), None) if blocks else None
    if stated is not None and own is not None and stated != own:
        raise EncoderMismatchError(
            f'{file.path or "The checkpoint"} states {stated} attention heads, the module has {own}: nothing was loaded'
        )


# --- names alone ------------------------------------------------------------------------------------------------------


def detect_scheme(checkpoint: Any) -> Optional[str]:
    """The name of the scheme of a checkpoint's parameters; None for others."""
    try:
        return find_network(checkpoint).scheme.name
    except EncoderMismatchError:
        return None


def to_mmmim(checkpoint: Any, prefix: Optional[str] = None) -> StateDict:
    """A checkpoint's parameters in our names; those outside of encoder and decoder keep theirs.

    Raises:
        EncoderMismatchError: The scheme is unknown, or one of query, key and value is missing.
    """
    return open_encoder(checkpoint, prefix).whole()


def from_mmmim(state_dict: StateDict, scheme: str) -> StateDict:
    """Translates our names to ``scheme``, the inverse of :func:`to_mmmim`; without what :func:`left_out` lists."""
    return translate(unwrap(state_dict), scheme)[0]


def left_out(state_dict: StateDict, scheme: str) -> List[str]:
    """Names (ours) that ``scheme`` cannot represent."""
    return translate(unwrap(state_dict), scheme)[1]


def encoder_state_dict(checkpoint: Union[AnyPath, Dict[str, Any]], prefix: Optional[str] = None) -> StateDict:
    """The encoder of any checkpoint in timm's names without a prefix; arguments as in :func:`open_encoder`."""
    return open_encoder(checkpoint, prefix).encoder


def add_positions(ours: StateDict, scheme: str, stated: Optional[Grid] = None) -> List[str]:
    """Adds the fixed position tables of encoder and decoder that a file lacks, in place; returns notes.

    Args:
        ours: The file's parameters, in our names.
        scheme: The name of the file's scheme: only tables that its project is known to compute are added.
        stated: The patch grid, if the file states it.

    Raises:
        EncoderMismatchError: Nothing tells the grid of an absent one.
    """
    project = next(one for one in SCHEMES if one.name == scheme)
    layers = {'backbone.pos_embed': 'backbone.patch_embed.proj', 'neck.decoder_pos_embed': 'neck.decoder_embed'}
    widths = {table: len(ours[f'{layer}.weight']) for table, layer in layers.items() if f'{layer}.weight' in ours}
    prefix, notes = int('backbone.cls_token' in ours), []
    absent = [table for table in widths if table not in ours]
    if project.absent_positions(ours.keys(), 4, (1, 1), prefix) is None:
        return []
    found = next((find_grid(ours[table], (prefix,)) for table in widths if table in ours), None)
    grid = stated or (found.grid if found else None)
    if absent and grid is None:
        raise EncoderMismatchError(f'{" and ".join(absent)} can not be rebuilt, as nothing in the file tells the grid.')
    for table in absent:
        assert grid is not None
        positions = project.absent_positions(ours.keys(), widths[table], grid, prefix)
        assert positions is not None
        ours[table] = positions
        notes.append(f'{table} was absent: the fixed one of {grid[0]} x {grid[1]} patches was rebuilt')
    return notes
