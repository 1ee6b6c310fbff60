"""Principal components and attention, compared with other ways to compute them."""

import numpy as np
import pytest
import timm
import torch
from sklearn.decomposition import PCA

from mmmim.registry import MODELS
from mmmim.structures import DataSample
from mmmim.visualization.feature_maps import block_features, feature_panel, overlay, principal_colours


def _backbone(**changes):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='MaskedViT', arch=dict(embed_dim=32, depth=3, num_heads=4), img_size=(16, 24), patch_size=4, **changes
        )
    ).eval()


def _images(count=3):
    return torch.randn(count, 3, 16, 24, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('block', [0, 1, 2, -1])
def test_attention_is_what_timm_multiplies_with(block):
    backbone, images = _backbone(), _images()
    attention = block_features(backbone, images, block).attention
    seen = []
    attn = backbone.blocks[block].attn
    attn.attn_drop.register_forward_hook(lambda _, __, output: seen.append(output))
    attn.register_forward_pre_hook(lambda module, _: setattr(module, 'fused_attn', False))
    backbone(images)  # plain matrix products show the whole matrix, [B, heads, T, T]
    expected = seen[0][:, :, 0, 1:].unflatten(2, (4, 6))
    assert attention.shape == (3, 4, 4, 6) and torch.allclose(attention, expected, atol=1e-6)
    assert (attention.sum(dim=(2, 3)) < 1).all()  # the rest looks at the class token itself


def test_attention_of_a_block_with_normalised_queries_and_registers():
    """timm's own model: with query and key norms, register tokens, another scale of the scores."""
    torch.manual_seed(0)
    vit = timm.models.VisionTransformer(
        img_size=16,
        patch_size=4,
        embed_dim=32,
        depth=2,
        num_heads=4,
        qk_norm=True,
        reg_tokens=2,
        num_classes=0,
        global_pool='',
    ).eval()
    vit.grid_size, vit.num_prefix_tokens = (4, 4), 3
    images = torch.randn(2, 3, 16, 16)
    features = block_features(vit, images)
    seen = []
    vit.blocks[-1].attn.attn_drop.register_forward_hook(lambda _, __, output: seen.append(output))
    vit.blocks[-1].attn.fused_attn = False
    tokens = vit(images)
    assert torch.allclose(features.attention.flatten(2), seen[0][:, :, 0, 3:], atol=1e-6)
    assert torch.allclose(features.patches.flatten(1, 2), tokens[:, 3:], atol=1e-5)


def test_features_of_the_last_block_are_the_backbones():
    backbone, images = _backbone(), _images(9)  # more than one batch
    tokens = backbone(images)
    for block in (-1, 2):
        assert torch.allclose(block_features(backbone, images, block).patches.flatten(1, 2), tokens[:, 1:], atol=1e-5)
    assert not torch.allclose(block_features(backbone, images, 0).patches.flatten(1, 2), tokens[:, 1:], atol=1e-2)


def test_nothing_stays_on_the_model():
    backbone = _backbone().train()
    block_features(backbone, _images())
    assert backbone.training and not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.modules())


@pytest.mark.parametrize('block', [3, -4])
def test_a_block_that_is_not_there(block):
    with pytest.raises(ValueError, match=f'block={block}.*3 blocks'):
        block_features(_backbone(), _images(), block)


def test_without_a_class_token_there_is_no_attention():
    assert block_features(_backbone(class_token=False), _images()).attention is None
    assert block_features(_backbone(class_token=False, num_register_tokens=2), _images()).attention is None


class _Pyramid(torch.nn.Module):
    """An encoder without blocks of timm's kind."""

    grid_size, num_prefix_tokens = (2, 3), 0

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 8).flatten(2).transpose(1, 2)


def test_any_encoder_shows_its_components():
    features = block_features(_Pyramid(), _images())
    assert features.patches.shape == (3, 2, 3, 3) and features.attention is None
    with pytest.raises(ValueError, match='no list of blocks'):
        block_features(_Pyramid(), _images(), block=1)


def test_colours_are_the_first_three_components():
    patches = torch.randn(2, 4, 6, 16, generator=torch.Generator().manual_seed(0)) * torch.linspace(4, 0.1, 16)
    colours = principal_colours(patches).flatten(0, 2).numpy()
    assert colours.min() == 0 and colours.max() == 1
    expected = PCA(3).fit(patches.flatten(0, 2).numpy())
    values = expected.transform(patches.flatten(0, 2).numpy())
    values *= np.sign(expected.components_[range(3), np.abs(expected.components_).argmax(1)])  # same rule for signs
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    assert np.allclose(colours, ((values - low) / (high - low)).clip(0, 1), atol=1e-4)


def test_two_groups_of_patches_get_two_colours():
    patches = torch.randn(1, 4, 4, 8, generator=torch.Generator().manual_seed(0)) * 0.1
    patches[:, :, 2:] += 5
    colours = principal_colours(patches)[0, ..., 0]
    left, right = colours[:, :2], colours[:, 2:]
    assert left.max() < 0.2 and right.min() > 0.8 or left.min() > 0.8 and right.max() < 0.2


def test_few_dimensions_and_flat_features_make_no_trouble():
    assert principal_colours(torch.randn(1, 2, 2, 2)).shape == (1, 2, 2, 3)
    assert torch.isfinite(principal_colours(torch.ones(1, 2, 2, 8))).all()


def test_an_overlay_is_brightest_where_attention_is():
    attention = torch.zeros(4, 4)
    attention[0, 3] = 1
    picture = overlay(np.full((32, 32, 3), 100, np.uint8), attention).astype(int).sum(axis=2)
    assert np.unravel_index(picture.argmax(), picture.shape)[0] < 8 and picture[:8, 24:].min() > picture[16:].max()


def _panel(backbone=None, **options):
    preprocessor = MODELS.build(dict(type='MIMDataPreprocessor'))
    pixels = torch.randint(0, 256, (3, 3, 16, 24), generator=torch.Generator().manual_seed(2)).byte()
    batch = dict(inputs=pixels, data_samples=[DataSample(metainfo=dict(img_path=f'a/{i}.png')) for i in range(3)])
    return feature_panel(backbone or _backbone(), preprocessor, batch, **options), pixels


def test_the_panel():
    panel, pixels = _panel(notes=dict(checkpoint='x.pth'))
    assert panel.columns == [
        'original',
        'principal components of patch features',
        'attention of the class token (mean of 4 heads)',
    ]
    assert panel.row_names == ['a/0.png', 'a/1.png', 'a/2.png'] and panel.notes['checkpoint'] == 'x.pth'
    for row, image in zip(panel.tiles, pixels):
        assert np.array_equal(row[0], image.permute(1, 2, 0).numpy())
        blocks = row[1].reshape(4, 4, 6, 4, 3)  # each patch is one colour
        assert (blocks == blocks[:, :1, :, :1]).all() and len(np.unique(row[1].reshape(-1, 3), axis=0)) > 6
    again, _ = _panel()
    assert all(np.array_equal(a, b) for r, s in zip(panel.tiles, again.tiles) for a, b in zip(r, s))


def test_options_of_the_panel():
    panel, _ = _panel(block=1, heads=True)
    assert panel.columns[1:3] == [
        'principal components of patch features, block 1',
        'attention of the class token, block 1 (mean of 4 heads)',
    ]
    assert panel.columns[3:] == ['head 0', 'head 1', 'head 2', 'head 3']
    together, each = _panel()[0], _panel(each=True)[0]
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(together.tiles, each.tiles))
    assert len(_panel(_backbone(class_token=False))[0].columns) == 2
