"""Names of parameters: summed up and described for messages, renamed by tables."""

import re
from collections import Counter
from typing import Collection, Iterable, List, Optional, Sequence, Tuple

# What may stand beside an encoder, by our names or by those of its project: decoders, heads, projectors and predictors,
# momentum copies, the other networks of a method, frozen targets, centers and queues of losses.
BESIDE = re.compile(
    r'(neck|fc|fc_norm|pooler|classifier|target|generator|discriminator|teacher|student|data_preprocessor|mask_token|'
    r'center|queue\w*|criterion|\w*heads?|head_\w+|\w*decoder\w*|\w*predictor\w*|\w*project(or|ion)\w*|\w*loss\w*|'
    r'(target|momentum|ema|teacher|student)_\w+|\w+_ema|cls_pt_layers|norm\d|attn_pool|n_averaged|steps|'
    r'prototypes|\w*momentum\w*|ema|linear|cls|output|bn|mean|std|temperature|logit_scale|total_(ops|params))(\.|$)'
)

# A linear classifier: two names of mmpretrain, which are ours too, and timm's
HEADS = [('head.fc', 'head.fc'), ('head.layers.head', 'head.layers.head'), ('head', 'head.fc')]


def first_names(keys: Iterable[str]) -> str:
    """Sums up names for a message: ``backbone (150), neck (30)``."""
    names = Counter(key.split('.')[0] for key in keys)
    return ', '.join(f'{name} ({count})' for name, count in sorted(names.items())[:12])


def list_names(keys: Iterable[str], most: Optional[int] = None) -> str:
    """Lists names, once if they differ in a number only: ``blocks.#.attn.qkv.bias (12), head.weight``."""
    names = Counter(re.sub(r'\.\d+(?=\.|$)', '.#', key) for key in keys)
    shown = [f'{name} ({count})' if count > 1 else name for name, count in names.items()][:most]
    return ', '.join([*shown, f'and {len(names) - len(shown)} more'] if len(shown) < len(names) else shown)


_OURS = re.compile(
    r'(backbone|neck|head|fc_norm|pooler|target_backbone|target_projector|feature_decoder|projector|predictor)\.'
)


def is_ours(name: str) -> bool:
    """Whether a name is one that a scheme's table makes: of an encoder, a decoder, a classifier, CMAE's parts."""
    return bool(_OURS.match(name))


def encoder_depth(names: Collection[str], blocks: str = 'blocks.') -> int:
    """Number of blocks under a prefix."""
    return len({name[len(blocks) :].split('.')[0] for name in names if name.startswith(blocks)})


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
