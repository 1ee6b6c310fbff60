"""ConvMAE (Gao et al., 2022): two stages of convolutions and a transformer, each with a list of blocks of its own."""

import re
from typing import Collection

from ..read import StateDict
from .base import Scheme, Translated
from .names import Renaming, head_name

_CONV_BLOCK = (
    ('norm1', 'norm1'),
    ('conv1', 'conv1'),
    ('depthwise', 'attn'),
    ('conv2', 'conv2'),
    ('norm2', 'norm2'),
    ('mlp.fc1', 'mlp.fc1'),
    ('mlp.fc2', 'mlp.fc2'),
)
_TABLE = Renaming(
    [
        *(
            (f'backbone.patch_embed.stages.{i}.blocks.#.{ours}', f'blocks{i + 1}.#.{theirs}')
            for i in range(2)
            for ours, theirs in _CONV_BLOCK
        ),
        *((f'backbone.patch_embed.stages.{i}.embed', f'patch_embed{i + 1}.proj') for i in range(2)),
        *((f'backbone.patch_embed.stages.{i}.norm', f'patch_embed{i + 1}.norm') for i in range(2)),
        ('backbone.patch_embed.embed', 'patch_embed3.proj'),
        ('backbone.patch_embed.norm', 'patch_embed3.norm'),
        ('backbone.patch_embed.linear', 'patch_embed4'),
        ('backbone.blocks.#', 'blocks3.#'),
        *((f'backbone.fuse.{i}', f'stage{i + 1}_output_decode') for i in range(2)),
        ('backbone.pos_embed', 'pos_embed'),
        ('backbone.norm', 'norm'),
        *((f'neck.decoder_{name}', f'decoder_{name}') for name in ('pos_embed', 'embed', 'norm', 'pred')),
        ('neck.decoder_blocks.#', 'decoder_blocks.#'),
        ('neck.mask_token', 'mask_token'),
        ('fc_norm', 'fc_norm'),
        ('head', 'head'),
    ]
)
# what their code writes as convolutions of 1x1 is linear layers here
_POINTWISE = re.compile(r'blocks[12]\.\d+\.(conv[12]|mlp\.fc[12])\.weight')
_OURS = re.compile(r'backbone\.patch_embed\.stages\.')


class ConvMAE(Scheme):
    """ConvMAE's models of pre-training, with its decoder, and of fine-tuning, with its classifier."""

    name = 'convmae'
    can_write = True
    wrapper = 'model'

    def recognises(self, names: Collection[str]) -> bool:
        return 'patch_embed4.weight' in names and any(re.match(r'blocks3\.\d+\.', name) for name in names)

    def to_ours(self, state: StateDict) -> StateDict:
        return {
            _TABLE.to_ours(name) or name: value.flatten(1) if _POINTWISE.fullmatch(name) else value
            for name, value in state.items()
        }

    def from_ours(self, ours: StateDict) -> Translated:
        """Also raises ValueError for an encoder that ConvMAE's code can not build."""
        if not any(map(_OURS.match, ours)) or 'backbone.patch_embed.linear.weight' not in ours:
            lean = ' without its layers after the third embedding (lean=True)' if any(map(_OURS.match, ours)) else ''
            raise ValueError(f"convmae is ConvMAE's hybrid ViT, and this encoder is {f'one{lean}' if lean else 'none'}")
        state, lost = {}, []
        for key, value in ours.items():
            name = _TABLE.from_ours(head_name(key))
            if name is None:
                lost.append(key)
            else:
                state[name] = value[..., None, None] if _POINTWISE.fullmatch(name) else value
        return state, lost
