"""State dicts: extracted from checkpoints, described, renamed."""

import re
from collections import Counter
from typing import Any, Iterable, List, Optional, Sequence, Tuple

from torch import Tensor

from ..read import StateDict

# A state dict in the names of another project, and those of our names that it cannot represent.
Translated = Tuple[StateDict, List[str]]

# A linear classifier: two names of mmpretrain, which are ours too, and timm's
HEADS = [('head.fc', 'head.fc'), ('head.layers.head', 'head.layers.head'), ('head', 'head.fc')]


def unwrap(checkpoint: Any) -> StateDict:
    """Returns the state dict inside ``checkpoint``: under ``state_dict`` or ``model``, without ``module.`` prefixes.

    Raises:
        ValueError: There is no dictionary of tensors.
    """
    state = checkpoint
    for key in ('state_dict', 'model'):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise ValueError(f'A checkpoint is a dictionary of tensors, but this one is a {type(state).__name__}.')
    state = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if state and all(key.startswith('module.') for key in state):  # saved from a DistributedDataParallel
        state = {key[len('module.') :]: value for key, value in state.items()}
    if not state:
        raise ValueError('The checkpoint holds no named tensors.')
    return state


def first_names(keys: Iterable[str]) -> str:
    """Sums up names for a message: ``backbone (150), neck (30)``."""
    names = Counter(key.split('.')[0] for key in keys)
    return ', '.join(f'{name} ({count})' for name, count in sorted(names.items())[:12])


def list_names(keys: Iterable[str]) -> str:
    """Lists all names, once if they differ in a number only: ``blocks.#.attn.qkv.bias (12), head.weight``."""
    names = Counter(re.sub(r'\.\d+(?=\.|$)', '.#', key) for key in keys)
    return ', '.join(f'{name} ({count})' if count > 1 else name for name, count in names.items())


def describe(keys: Iterable[str]) -> str:
    """The kind of network with such names, for a message: a ConvNet, a Swin, ..."""
    keys = set(keys)
    signs = (
        ('a convolutional ViT', r'(.*\.)?patch_embed\.stages\.\d+\.blocks\.\d+\.depthwise\.'),
        ('a ResNet', r'(.*\.)?layer1\.0\.conv1\.weight'),
        ('a ConvNeXt', r'(.*\.)?stages\.\d+\.(blocks\.)?\d+\.(conv_dw|depthwise_conv|dwconv)\.'),
        ('a Swin V2', r'.*\.(cpb_mlp|logit_scale)'),
        ('a Swin', r'.*(stages|layers)\.\d+\.blocks\.\d+\..*relative_position_bias_table'),
        ('a language model', r'(.*\.)?(wte|word_embeddings|embed_tokens)\.weight'),
    )
    for name, pattern in signs:
        if any(re.match(pattern, key) for key in keys):
            return name
    return ''


def head_name(key: str) -> str:
    """A linear classifier's name in timm; mmpretrain calls its own ``head.fc`` or ``head.layers.head``."""
    return re.sub(r'^head\.(fc|layers\.head)\.(weight|bias)$', r'head.\2', key)


def pooled_norm_name(key: str) -> str:
    """timm's and the original MAE's name for the layer norm after pooling, which is in the neck of our classifiers."""
    return re.sub(r'^neck\.norm\.(weight|bias)$', r'fc_norm.\1', key)


def classifier_name(key: str) -> str:
    """The name in our classifiers of what timm and the original MAE call ``fc_norm`` and ``head``."""
    return re.sub(r'^head\.(?=weight$|bias$)', 'head.fc.', re.sub(r'^fc_norm\.', 'neck.norm.', key))


def is_classifier(key: str) -> bool:
    """Whether a name is that of a linear classifier."""
    return head_name(key) in ('head.weight', 'head.bias')


def is_other_head(key: str) -> bool:
    """Whether a name is in a head but not in a linear classifier: a predictor, a batch norm in front."""
    return key.startswith('head.') and not is_classifier(key)


class Renaming:
    """A table of pairs (ours, theirs), read in both directions.

    A pair stands for all names that begin with it: ``norm1`` for ``norm1.weight`` and ``norm1.bias``. ``#`` is a
    number. The first pair that fits is taken.
    """

    def __init__(self, pairs: Sequence[Tuple[str, str]]) -> None:
        self._forth = [(_pattern(ours), _template(theirs)) for ours, theirs in pairs]
        self._back = [(_pattern(theirs), _template(ours)) for ours, theirs in pairs]

    def to_ours(self, key: str) -> Optional[str]:
        """Our name, or None when the table has no such name."""
        return _rename(key, self._back)

    def from_ours(self, key: str) -> Optional[str]:
        """Their name, or None when the table has no such name."""
        return _rename(key, self._forth)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r'\#', r'(\d+)') + r'(?=\.|$)')


def _template(name: str) -> List[str]:
    return name.split('#')


def _rename(key: str, table: List[Tuple[re.Pattern[str], List[str]]]) -> Optional[str]:
    for pattern, template in table:
        match = pattern.match(key)
        if match:
            numbers = (*match.groups(), '')
            return ''.join(part + number for part, number in zip(template, numbers)) + key[match.end() :]
    return None
