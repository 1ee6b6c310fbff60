"""A small dense ViT, with and without a checkpoint."""

import torch

from mmmim.models.backbones import DenseViT

SMALL = dict(arch=dict(embed_dim=32, depth=4, num_heads=2), img_size=32, patch_size=8)
RELATIVE = ['shared', 'separate', 'decomposed']


def build(kind=DenseViT, **kwargs):
    """All parameters random, also positions, biases and tables."""
    torch.manual_seed(0)
    vit = kind(**{**SMALL, **kwargs}).eval()
    for name, param in vit.named_parameters():
        param.data.add_(torch.randn_like(param) * (0.2 if 'rel_pos' in name else 0.05))
    return vit


def draw(height=32, width=32, batch=2, chans=3):
    return torch.randn(batch, chans, height, width, generator=torch.Generator().manual_seed(2))


def as_map(tokens, grid):
    return tokens[:, -grid[0] * grid[1] :].mT.unflatten(2, grid)


def save(path, encoder):
    """A pre-training checkpoint with this encoder."""
    torch.save({'state_dict': {f'backbone.{key}': value for key, value in encoder.state_dict().items()}}, path)
    return str(path)


def pretrained(path, **kwargs):
    vit = DenseViT(**{**SMALL, **kwargs}, init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'))
    vit.init_weights()
    return vit.eval()
