"""Naming schemes of parameters in checkpoints: ours and those of other projects.

    scheme      encoder                                     decoder
    mmmim       backbone.blocks.N.attn.qkv.weight           neck.decoder_blocks.N.attn.qkv.weight
    timm        blocks.N.attn.qkv.weight                    none
    mae         blocks.N.attn.qkv.weight                    decoder_blocks.N.attn.qkv.weight
    hf          vit.encoder.layer.N.attention.attention.    decoder.decoder_layers.N.attention.attention.
                {query, key, value}.weight                  {query, key, value}.weight
    mmpretrain  backbone.layers.N.attn.qkv.weight           neck.decoder_blocks.N.attn.qkv.weight
    cmae        backbone.layers.N.attn.qkv.weight           pixel_decoder.decoder_blocks.N.attn.qkv.weight
    mae-pytorch encoder.blocks.N.attn.qkv.weight            decoder.blocks.N.attn.qkv.weight
    simmim      encoder.blocks.N.attn.qkv.weight            decoder.0.weight
    convmae     blocks3.N.attn.qkv.weight                   decoder_blocks.N.attn.qkv.weight

One file a project, a :class:`~.base.Scheme`, and its line in :data:`SCHEMES`; ``beit``, ``dinov2`` and ``swin`` are
what several projects share. Values are copied, never computed: queries, keys and values are concatenated or split,
BEiT's absent key bias becomes zeros, the channels of Swin's patch merging are reordered. A ViT with relative positions
keeps the names of timm's ``Beit`` under ``backbone.``
"""

from typing import Collection, List, Optional

from ..read import StateDict
from .base import Scheme, Translated
from .convmae import ConvMAE
from .hugging_face import HuggingFace
from .mae import MAE
from .mae_pytorch import MAEPyTorch
from .mmpretrain import CMAE, MMPretrain
from .names import first_names, list_names, pooled_norm_name
from .ours import Ours
from .simmim import SimMIM
from .timm import Timm

__all__ = ['SCHEMES', 'Scheme', 'first_names', 'get_scheme', 'list_names', 'recognise', 'translate', 'writable']

# the first one that recognises the names is taken
SCHEMES: List[Scheme] = [Ours(), MAE(), Timm(), HuggingFace(), MMPretrain(), CMAE(), MAEPyTorch(), SimMIM(), ConvMAE()]


def recognise(names: Collection[str]) -> Optional[Scheme]:
    """The scheme of names with nothing in front of them; None where none knows them."""
    return next((scheme for scheme in SCHEMES if scheme.recognises(names)), None)


def writable() -> List[str]:
    """Names of the schemes that :func:`translate` writes."""
    return [scheme.name for scheme in SCHEMES if scheme.can_write]


def get_scheme(name: str) -> Scheme:
    """The scheme of a name that can be written.

    Raises:
        ValueError: There is none.
    """
    found = next((scheme for scheme in SCHEMES if scheme.name == name and scheme.can_write), None)
    if found is None:
        raise ValueError(f'Unknown scheme {name!r}: use one of {", ".join(writable())}.')
    return found


def translate(ours: StateDict, scheme: str) -> Translated:
    """``(state dict in the names of a scheme, our names that it cannot represent)``, from our names.

    ``'hf'`` gives the names of ``ViTMAEForPreTraining`` when there is a decoder, of ``ViTForImageClassification`` when
    there is a classifier, else those of ``ViTModel``. ``'mmpretrain'`` gives those of whole models, the encoder under
    ``backbone.``.

    Raises:
        ValueError: The encoder has several class tokens, and models of the scheme one.
    """
    target, classes = get_scheme(scheme), ours.get('backbone.cls_token')
    if classes is not None and classes.ndim == 3 and classes.shape[1] > 1 and not target.several_class_tokens:
        able = ', '.join(one.name for one in SCHEMES if one.can_write and one.several_class_tokens)
        raise ValueError(
            f'The encoder has {classes.shape[1]} class tokens, and models with the names of {scheme} have one. Of the '
            f"schemes that can be written, {able} can have them (timm further ones as registers, mae for Pixio's code)."
        )
    if target.name == 'mmmim':
        return target.from_ours(ours)
    return target.from_ours({pooled_norm_name(name): value for name, value in ours.items()})
