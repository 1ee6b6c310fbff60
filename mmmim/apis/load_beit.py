"""A ViT with relative positions, BEiT's or SimMIM's, as timm's ``Beit``."""

from typing import Dict, Optional

from timm.layers.patch_embed import resample_patch_embed
from timm.models.beit import Beit
from torch import Tensor, nn

from ..models.patches import Size, grid_size, to_2tuple
from ..naming.beit import SHARED, TABLE, fit_tables, table_grid
from ..translate import EncoderMismatchError, resize_pos_embed

State = Dict[str, Tensor]


def build_beit(
    encoder: State,
    others: State,
    img_size: Optional[Size],
    patch_size: Optional[Size],
    known_size: Optional[Size],
    pool: str,
    path: str,
) -> nn.Module:
    """A module for the parameters of an encoder, which are brought to its sizes in place; it is not filled yet.

    Args:
        encoder: In timm's names.
        others: What else the file has: a norm after pooling is added to ``encoder``.
        img_size, patch_size, pool: As in :func:`.load_encoder`.
        known_size: Image size of the file, where something tells it; else its map is square.
        path: For messages.

    Raises:
        EncoderMismatchError: Sizes cannot be told.
    """
    kernel = encoder['patch_embed.proj.weight']
    table = next(value for key, value in encoder.items() if key.endswith(TABLE))
    file_patch = tuple(kernel.shape[2:])
    stored = grid_size(known_size, file_patch) if known_size is not None else table_grid(table)
    if stored is None or len(table) != (2 * stored[0] - 1) * (2 * stored[1] - 1) + 3:
        raise EncoderMismatchError(
            f'{path}: its tables of relative positions have {len(table)} rows, which fit no '
            'square map with a class token, and no config in the file tells the map'
        )
    patch = to_2tuple(patch_size) if patch_size is not None else file_patch
    size = to_2tuple(img_size) if img_size is not None else tuple(n * side for n, side in zip(stored, file_patch))
    grid = grid_size(size, patch)
    if grid != stored and stored[0] != stored[1]:
        raise EncoderMismatchError(
            f'{path}: tables of relative positions are resized from square maps only, and '
            f'these are for {stored[0]} x {stored[1]} patches: leave img_size out'
        )
    pooled = 'norm.weight' not in encoder
    if pooled:
        encoder.update({key: value.float() for key, value in others.items() if key.startswith('fc_norm.')})
    model = Beit(
        size,
        patch,
        kernel.shape[1],
        num_classes=0,
        global_pool='avg' if pooled else '',
        embed_dim=kernel.shape[0],
        depth=1 + max(int(key.split('.')[1]) for key in encoder if key.startswith('blocks.')),
        num_heads=table.shape[1],
        qkv_bias='blocks.0.attn.q_bias' in encoder,
        mlp_ratio=encoder['blocks.0.mlp.fc1.weight'].shape[0] / kernel.shape[0],
        init_values=1.0 if 'blocks.0.gamma_1' in encoder else None,
        use_abs_pos_emb='pos_embed' in encoder,
        use_rel_pos_bias=f'blocks.0.attn.{TABLE}' in encoder,
        use_shared_rel_pos_bias=SHARED in encoder,
    )
    if pooled and 'fc_norm.weight' not in encoder:
        model.fc_norm = nn.Identity()
    fit_tables(encoder, model.state_dict(), grid)
    if 'pos_embed' in encoder:
        encoder['pos_embed'] = resize_pos_embed(encoder['pos_embed'], stored, grid, 1)
    encoder['patch_embed.proj.weight'] = resample_patch_embed(kernel, list(patch))
    model.global_pool = pool
    return model
