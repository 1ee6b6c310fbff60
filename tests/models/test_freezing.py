"""What partial fine-tuning trains, and what it leaves alone."""

import pytest
import torch

from mmmim.registry import MODELS

DEPTH = 4
MLP = {'norm2', 'mlp'}


def build(trainable_blocks, **options):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='MaskedViT',
            arch=dict(embed_dim=16, depth=DEPTH, num_heads=2),
            img_size=8,
            patch_size=4,
            drop_path_rate=0.5,
            trainable_blocks=trainable_blocks,
            **options,
        )
    )


def trained(vit):
    return {name for name, p in vit.named_parameters() if p.requires_grad}


@pytest.mark.parametrize('blocks', [0, 0.5, 1, 1.5, 3])
def test_the_last_blocks_and_the_norm(blocks):
    everything = {name for name in trained(build(None))}
    expected = {name for name in everything if name.startswith('norm.') and blocks}
    for i in range(DEPTH):
        own = {name for name in everything if name.startswith(f'blocks.{i}.')}
        if i >= DEPTH - int(blocks):
            expected |= own
        elif blocks % 1 and i == DEPTH - int(blocks) - 1:
            expected |= {name for name in own if name.split('.')[2] in MLP}
    assert trained(build(blocks)) == expected


def test_all_blocks_are_fine_tuning():
    assert trained(build(DEPTH)) == trained(build(None))
    assert build(DEPTH).frozen == ()


@pytest.mark.parametrize('blocks', [-1, 0.3, DEPTH + 0.5])
def test_impossible_numbers(blocks):
    with pytest.raises(ValueError, match='multiple of 0.5 between 0 and 4'):
        build(blocks)


def test_frozen_parts_stay_in_evaluation_mode():
    """With all of it frozen, training mode changes nothing: no stochastic depth is drawn."""
    vit, images = build(0), torch.randn(8, 3, 8, 8)
    expected = vit.eval()(images)
    assert torch.equal(vit.train()(images), expected)
    partial = build(1.5).train()
    assert [block.mlp.training for block in partial.blocks] == [False, False, True, True]
    assert [block.attn.training for block in partial.blocks] == [False, False, False, True]
    assert not torch.equal(build(None).train()(images), expected)


def test_gradients_and_graph_stop_where_training_does():
    vit, images = build(0.5), torch.randn(2, 3, 8, 8)
    kept = []
    vit.blocks[DEPTH - 2].register_forward_hook(lambda module, args, output: kept.append(output.requires_grad))
    vit.train()(images).square().sum().backward()
    assert kept == [False]  # nothing is kept for a backward pass below
    for name, p in vit.named_parameters():
        assert (p.grad is not None) == (name in trained(vit)), name


def test_names_are_those_of_the_whole_encoder():
    assert list(build(1).state_dict()) == list(build(None).state_dict())
