"""Naming schemes of parameters in checkpoints: ours and those of other projects.

    scheme      encoder                                     decoder
    mmmim       backbone.blocks.N.attn.qkv.weight           neck.decoder_blocks.N.attn.qkv.weight
    timm        blocks.N.attn.qkv.weight                    none
    mae         blocks.N.attn.qkv.weight                    decoder_blocks.N.attn.qkv.weight
    hf          vit.encoder.layer.N.attention.attention.    decoder.decoder_layers.N.attention.attention.
                {query, key, value}.weight                  {query, key, value}.weight
    mmpretrain  backbone.layers.N.attn.qkv.weight           neck.decoder_blocks.N.attn.qkv.weight
    cmae        backbone.layers.N.attn.qkv.weight           pixel_decoder.decoder_blocks.N.attn.qkv.weight
    simmim      encoder.blocks.N.attn.qkv.weight            decoder.0.weight

One module for each family, which translates to our names and, except for SimMIM's, back. Values are copied, never
computed: queries, keys and values are concatenated or split, BEiT's absent key bias becomes zeros, the channels of
Swin's patch merging are reordered. A ViT with relative positions keeps the names of timm's ``Beit`` under ``backbone.``
Position tables are copied, too: sine-cosine tables of different codes differ in the order of their halves.
"""

from typing import Any, List, Optional

from . import hugging_face, mmpretrain, simmim, timm
from .names import StateDict, Translated, describe, first_names, list_names, pooled_norm_name, unwrap

__all__ = [
    'SCHEMES',
    'StateDict',
    'consume',
    'detect_scheme',
    'first_names',
    'from_mmmim',
    'left_out',
    'list_names',
    'to_mmmim',
    'unwrap',
]

SCHEMES = ('mmmim', 'timm', 'mae', 'hf', 'mmpretrain', 'cmae')  # schemes that can be written
_FROM_OURS = {
    'timm': timm.to_timm,
    'mae': timm.to_mae,
    'hf': hugging_face.from_ours,
    'mmpretrain': mmpretrain.from_ours,
    'cmae': mmpretrain.to_cmae,
}


def detect_scheme(state_dict: Any) -> Optional[str]:
    """Detects the naming scheme of a state dict.

    Returns:
        A scheme of the table above or None. ``'timm'`` stands for an encoder alone in plain names, which MAE's encoder
        files, fine-tuned ones, BEiT's and Swin's also have.
    """
    keys = list(unwrap(state_dict))
    # The order matters: mmpretrain's encoder is under `backbone.` as ours is.
    return mmpretrain.detect(keys) or hugging_face.detect(keys) or simmim.detect(keys) or timm.detect(keys)


def to_mmmim(state_dict: Any) -> StateDict:
    """Translates from whichever scheme is detected to ours. Names outside of encoder and decoder are unchanged.

    Raises:
        ValueError: The scheme is unknown, or one of query, key and value is missing.
    """
    return consume(unwrap(state_dict))


def consume(state: StateDict) -> StateDict:
    """As :func:`to_mmmim`, for an unwrapped state dict that is not used afterwards: may empty it to save memory."""
    scheme = detect_scheme(state)
    if scheme is None:
        kind = describe(state)
        raise ValueError(
            f'The names of these parameters belong to none of {", ".join((*SCHEMES, "simmim"))}'
            f'{": they are those of " + kind if kind else ""}: they begin with {first_names(state)}. '
            "A ViT (or SimMIM's Swin) of one of these projects is needed."
        )
    if scheme == 'mmmim':
        return state
    if scheme in ('mmpretrain', 'cmae'):
        return mmpretrain.to_ours(state)
    return {'hf': hugging_face, 'simmim': simmim}.get(scheme, timm).to_ours(state)


def from_mmmim(state_dict: Any, scheme: str) -> StateDict:
    """Translates our names to ``scheme``; the inverse of :func:`to_mmmim`.

    Parameters without a name in the scheme are left out; :func:`left_out` lists them. ``'hf'`` gives the names of
    ``ViTMAEForPreTraining`` when there is a decoder, of ``ViTForImageClassification`` when there is a classifier, else
    those of ``ViTModel``. ``'mmpretrain'`` gives those of whole models, the encoder under ``backbone.``.
    """
    return _translate(state_dict, scheme)[0]


def left_out(state_dict: Any, scheme: str) -> List[str]:
    """Names (ours) that ``scheme`` cannot represent."""
    return _translate(state_dict, scheme)[1]


def _translate(state_dict: Any, scheme: str) -> Translated:
    if scheme not in SCHEMES:
        raise ValueError(f'Unknown scheme {scheme!r}: use one of {", ".join(SCHEMES)}.')
    state = unwrap(state_dict)
    if scheme == 'mmmim':
        return state, []
    return _FROM_OURS[scheme]({pooled_norm_name(key): value for key, value in state.items()})
