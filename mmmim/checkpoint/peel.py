"""Finds the network in a checkpoint: below what training tools put around it, and by the names of its project."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from .kinds import describe
from .read import StateDict
from .schemes import SCHEMES, Scheme, recognise
from .schemes.names import BESIDE, first_names

# what torch.compile, FSDP and activation checkpointing put into names
_WRAPPERS = re.compile(r'(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')
# what only an encoder has
_OF_AN_ENCODER = re.compile(r'(?:backbone\.)?(blocks\.\d+|patch_embed\.proj|cls_token|pos_embed)(\.|$)')
_DICTIONARIES, _PREFIXES = 2, 4  # how many of them are looked through
# Of several networks in a file the one that its project evaluates: DINO's teacher, I-JEPA's target encoder, MoCo v3's
# base encoder, BYOL's online network; and a model rather than its copies.
_PREFERRED = (
    *('state_dict', 'model', 'module', 'teacher', 'teacher_backbone', 'target_encoder', 'base_encoder'),
    *('online_network', 'online_encoder', 'encoder', 'backbone'),
)


class EncoderMismatchError(RuntimeError, ValueError):
    """A checkpoint holds no such encoder, or does not fill one completely."""


@dataclass
class Network:
    """A network in a checkpoint.

    Attributes:
        path: Where it stood: the keys of dictionaries and the prefix, such as ``teacher.backbone``; may be empty.
        scheme: Whose names these are.
        state: Its parameters, without what stood in front of their names.
        beside: Other parameters of the same dictionary that belong to no network that is known.
        others: Paths of the other networks in the file.
        asked_for: It was chosen by a prefix.
        place: The keys of the dictionary that holds it.
    """

    path: str
    scheme: Scheme
    state: StateDict
    beside: StateDict = field(default_factory=dict)
    others: List[str] = field(default_factory=list)
    asked_for: bool = False
    place: str = ''

    def choice(self) -> str:
        """A sentence on the other networks of the file; empty without any."""
        others = ', '.join(map(repr, self.others))
        return f"The file holds several networks: '{self.path}' is taken; prefix= takes {others}." if others else ''


def find_network(checkpoint: Any, prefix: Optional[str] = None) -> Network:
    """The network in a checkpoint.

    Args:
        checkpoint: The content of a file.
        prefix: Which one, where there are several: the end of its path, such as ``student`` or ``target_backbone``.
            None, an empty text and ``backbone`` leave the choice to us.

    Raises:
        EncoderMismatchError: There is none, or several and none that is preferred.
    """
    prefix = (prefix or '').strip('.')
    prefix = '' if prefix == 'backbone' else prefix
    groups = named_tensors(checkpoint)
    found = list(_chosen(groups, prefix) if prefix else _networks(groups))
    if not found:
        raise EncoderMismatchError(_nothing_found(groups, prefix))
    torn = [] if prefix else _torn_off(groups, found)
    if torn:
        raise EncoderMismatchError(
            f'Beside a whole network the checkpoint holds parts of one in other dictionaries: {", ".join(torn[:5])}. '
            'Put its parameters into one dictionary, or say by prefix= what is wanted.'
        )
    if len(found) > 1:
        found.sort(key=lambda network: _rank(network.path))
    best = found[0]
    best.asked_for = bool(prefix)
    best.others = [network.path for network in found[1:]]
    if best.others and _rank(best.others[0]) == _rank(best.path):
        raise EncoderMismatchError(
            f'The checkpoint holds several networks, and none is known to be the right one: '
            f'{", ".join(repr(network.path) for network in found)}. Say which by prefix=.'
        )
    return best


def _torn_off(groups: Dict[str, StateDict], found: List[Network]) -> List[str]:
    """Parameters of an encoder in dictionaries without a network, which no network in the file has."""
    places = {network.place for network in found}
    parts = {'.'.join(name.removeprefix('backbone.').split('.')[:2]) for network in found for name in network.state}
    return [
        f'{place}{name}'
        for place, tensors in groups.items()
        for name in tensors
        if place not in places and not BESIDE.match(place)
        if (match := _OF_AN_ENCODER.match(name)) and match[1] not in parts
    ]


def named_tensors(checkpoint: Any) -> Dict[str, StateDict]:
    """The tensors of a checkpoint by the keys of the dictionary that holds them: ``{'model.': {'norm.bias': ...}}``.

    Dictionaries up to two levels down are looked at. What wrappers put into names is taken out.

    Raises:
        EncoderMismatchError: There are no tensors with names, or two get the same name.
    """
    if not isinstance(checkpoint, dict):
        raise EncoderMismatchError(
            f'A checkpoint is a dictionary of tensors, but this one is a {type(checkpoint).__name__}.'
        )
    groups: Dict[str, StateDict] = {}
    waiting: List[Tuple[str, Dict[Any, Any], int]] = [('', checkpoint, 0)]
    for path, content, depth in waiting:
        state: StateDict = {}
        for key, value in content.items():
            if isinstance(value, np.ndarray) and value.dtype.kind in 'iuf':
                value = torch.from_numpy(value)
            if isinstance(value, Tensor):
                bare = _WRAPPERS.sub('', str(key))
                if bare in state:
                    raise EncoderMismatchError(f'Two parameters of the checkpoint are called {bare} without wrappers.')
                state[bare] = value
            elif isinstance(key, str) and isinstance(value, dict) and depth < _DICTIONARIES:
                waiting.append((f'{path}{key}.', value, depth + 1))
        if state and path in groups:
            raise EncoderMismatchError(f'Two dictionaries of the checkpoint are called {path.rstrip(".")}.')
        if state:
            groups[path] = state
    if not groups:
        keys = ', '.join(map(str, list(checkpoint)[:8])) or 'nothing'
        raise EncoderMismatchError(f'The checkpoint holds no named tensors, but {keys}.')
    return groups


def unwrap(checkpoint: Any) -> StateDict:
    """The tensors of any network's checkpoint: under ``state_dict`` or ``model``, without ``module.`` in front.

    Raises:
        EncoderMismatchError: There are no tensors with names.
    """
    groups = named_tensors(checkpoint)
    state = next((groups[key] for key in ('state_dict.', 'model.') if key in groups), max(groups.values(), key=len))
    if all(name.startswith('module.') for name in state):  # saved from a DistributedDataParallel
        state = {name[len('module.') :]: value for name, value in state.items()}
    return state


def _networks(groups: Dict[str, StateDict]) -> Iterator[Network]:
    """All networks with known names; each dictionary by itself, below prefixes that some of its names share."""
    for place, tensors in groups.items():
        found: List[Tuple[str, Scheme, StateDict]] = []
        waiting = [(place, tensors, 0)]
        for path, state, depth in waiting:
            scheme = recognise(state)
            if scheme is not None:
                found.append((path, scheme, state))
            elif depth < _PREFIXES:
                parts: Dict[str, StateDict] = defaultdict(dict)
                for name, value in state.items():
                    first, dot, rest = name.partition('.')
                    if dot:
                        parts[first][rest] = value
                waiting += [(f'{path}{first}.', part, depth + 1) for first, part in parts.items()]
        inside = tuple(path for path, _, _ in found)
        for path, scheme, state in found:
            beside = {
                _below(f'{place}{name}', path): value
                for name, value in tensors.items()
                if not f'{place}{name}'.startswith(inside)
            }
            yield Network(path.rstrip('.'), scheme, state, beside, place=place)


def _below(name: str, path: str) -> str:
    """A name beside a network without the prefixes that both have: a ``module.`` around an encoder and its head."""
    parts = name.split('.')
    for wrapper in path.split('.'):
        if parts[0] != wrapper or len(parts) < 2:
            break
        del parts[0]
    return '.'.join(parts)


def _chosen(groups: Dict[str, StateDict], prefix: str) -> Iterator[Network]:
    """Networks whose path ends in ``prefix``."""
    pattern = re.compile(rf'((?:.*?\.)??{re.escape(prefix)}\.)(.+)')
    chosen: Dict[str, StateDict] = defaultdict(dict)
    for place, tensors in groups.items():
        for name, value in tensors.items():
            match = pattern.fullmatch(f'{place}{name}')
            if match:
                chosen[match[1]][match[2]] = value
    return _networks(chosen)


def _rank(path: str) -> Tuple[int, List[int]]:
    """Smaller is better: by the least known part of a path first, so that a teacher goes before ``model.student``."""
    places = [_PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED) for name in path.split('.') if name]
    return max(places, default=-1), places


def _nothing_found(groups: Dict[str, StateDict], prefix: str) -> str:
    names = [name for tensors in groups.values() for name in tensors]
    paths = ', '.join(repr(network.path) for network in _networks(groups) if network.path) if prefix else ''
    if paths:
        return (
            f"There is no encoder under '{prefix}.' in this checkpoint: its names begin with {first_names(names)}. The "
            f'prefix may be one of {paths}.'
        )
    where, (kind, advice) = f" under '{prefix}.'" if prefix else '', describe(names)
    return (
        f'There is no encoder{where} in this checkpoint: the names of its parameters belong to none of '
        f'{", ".join(scheme.name for scheme in SCHEMES)}: they begin with {first_names(names)}'
        f'{" and are those of " + kind if kind else ""}.'
        f'{advice or " A ViT or a Swin of one of these projects is needed."}'
    )
