"""Freezing: train only the last blocks of an encoder (linear probing, partial fine-tuning)."""

from typing import List, Optional, Protocol

from torch import nn

# modules of timm's Block in the MLP's half, its norm included
_MLP_HALF = ('norm2', 'mlp', 'ls2', 'drop_path2')


class VisionTransformer(Protocol):
    """Attributes that timm's ViT and ours have."""

    patch_embed: nn.Module
    cls_token: Optional[nn.Parameter]
    pos_embed: Optional[nn.Parameter]
    blocks: nn.ModuleList
    norm: nn.Module


def freeze_all_but_last(vit: VisionTransformer, trainable_blocks: float) -> List[nn.Module]:
    """Freeze all of a ViT but its last blocks, and the final norm with them.

    Partial fine-tuning as in MAE, Fig. 9. Half a block is its MLP with the norm in front of it; that the norm counts
    as part of the MLP's half is this project's reading.

    Args:
        vit: The encoder.
        trainable_blocks: 0 freezes everything, the final norm too (linear probing); n or n + 0.5 trains as many
            blocks; the number of blocks freezes nothing (fine-tuning).

    Returns:
        The frozen modules, which should also stay in evaluation mode.

    Raises:
        ValueError: The number is no multiple of 0.5 between 0 and the depth.
    """
    depth = len(vit.blocks)
    if not 0 <= trainable_blocks <= depth or trainable_blocks * 2 % 1:
        raise ValueError(
            f'trainable_blocks={trainable_blocks} must be a multiple of 0.5 between 0 and {depth}, the number of blocks'
        )
    if trainable_blocks == depth:
        return []
    whole = int(trainable_blocks)
    frozen = [vit.patch_embed, *vit.blocks[: depth - whole]]
    if trainable_blocks > whole:
        halved = frozen.pop()
        frozen += [child for name, child in halved.named_children() if name not in _MLP_HALF]
    if trainable_blocks == 0:
        frozen.append(vit.norm)
    for module in frozen:
        module.requires_grad_(False)
    others = (getattr(vit, name, None) for name in ('reg_token', 'mask_token'))
    for token in (vit.cls_token, vit.pos_embed, *others):
        if token is not None:
            token.requires_grad_(False)
    return frozen
