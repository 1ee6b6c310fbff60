"""Losses per patch, on removed patches or on all."""

import math

import pytest
import torch
from torch.nn import functional as F

from mmmim.models.heads import PatchDiscriminationHead, ReconstructionHead, TokenHead
from mmmim.models.masking import Masking


@pytest.fixture
def mask():
    return Masking('random', 0.75, (4, 4))(torch.rand(3, 16))


@pytest.fixture
def prediction():
    return torch.randn(3, 16, 12)


@pytest.fixture
def target():
    return torch.randn(3, 16, 12)


def test_squared_error_is_averaged_over_removed_patches(prediction, target, mask):
    removed = mask.mask.bool()
    expected = F.mse_loss(prediction[removed], target[removed])
    torch.testing.assert_close(ReconstructionHead().loss(prediction, target, mask), expected)


def test_absolute_error(prediction, target, mask):
    removed = mask.mask.bool()
    expected = F.l1_loss(prediction[removed], target[removed])
    torch.testing.assert_close(ReconstructionHead(norm='l1').loss(prediction, target, mask), expected)


def test_sum_over_a_patch_is_its_mean_times_its_size(prediction, target, mask):
    total = ReconstructionHead(patch_reduction='sum').loss(prediction, target, mask)
    torch.testing.assert_close(total, prediction.shape[2] * ReconstructionHead().loss(prediction, target, mask))
    with pytest.raises(ValueError, match='patch_reduction'):
        ReconstructionHead(patch_reduction='max')


def test_loss_on_all_counts_every_patch(prediction, target, mask):
    loss = ReconstructionHead(loss_on='all').loss(prediction, target, mask)
    torch.testing.assert_close(loss, F.mse_loss(prediction, target))


@pytest.mark.parametrize('norm', ['l1', 'l2'])
@pytest.mark.parametrize('dtype, wanted', [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_the_error_is_at_least_float32(dtype, wanted, norm, prediction, target):
    """Also with the features of a network that runs in bf16."""
    head, prediction, target = ReconstructionHead(norm=norm), prediction.to(dtype), target.to(dtype)
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = head.patch_loss(prediction, target)
    expected = (F.l1_loss if norm == 'l1' else F.mse_loss)(prediction.to(wanted), target.to(wanted), reduction='none')
    assert loss.dtype == wanted
    torch.testing.assert_close(loss, expected.mean(-1), rtol=1e-6, atol=0)


@pytest.mark.parametrize('loss_on', ['masked', 'all'])
def test_visible_patches_count_only_with_all(loss_on, prediction, target, mask):
    head = ReconstructionHead(loss_on=loss_on)
    other = prediction + (mask.mask == 0)[..., None] * 3.0
    same = torch.equal(head.loss(other, target, mask), head.loss(prediction, target, mask))
    assert same == (loss_on == 'masked')


@pytest.mark.parametrize('loss_on', ['masked', 'all'])
def test_the_loss_is_the_mean_over_images(loss_on, prediction, target, mask):
    head = ReconstructionHead(loss_on=loss_on)
    per_image = head.loss_per_image(prediction, target, mask)
    assert per_image.shape == (3,)
    torch.testing.assert_close(per_image.mean(), head.loss(prediction, target, mask))


def test_the_loss_is_computed_in_the_targets_precision(prediction, target, mask):
    coarse = prediction.bfloat16()
    loss = ReconstructionHead().loss(coarse, target, mask)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, ReconstructionHead().loss(coarse.float(), target, mask))


def test_tokens_have_a_cross_entropy(mask):
    logits, tokens = torch.randn(3, 16, 20), torch.randint(20, (3, 16))
    removed = mask.mask.bool()
    expected = F.cross_entropy(logits[removed], tokens[removed])
    torch.testing.assert_close(TokenHead().loss(logits, tokens, mask), expected)


def test_token_logits_in_half_precision_give_a_float32_loss(mask):
    logits, tokens = torch.randn(3, 16, 20).bfloat16(), torch.randint(20, (3, 16))
    loss = TokenHead().loss(logits, tokens, mask)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, TokenHead().loss(logits.float(), tokens, mask))


@pytest.mark.parametrize('key, value', [('loss_on', 'removed'), ('norm', 'l3')])
def test_an_unknown_choice_is_refused(key, value):
    with pytest.raises(ValueError, match=f"{key}='{value}' is not known; use"):
        ReconstructionHead(**{key: value})


@pytest.mark.parametrize('width', [32, 192, 768])
def test_a_new_discriminator_is_undecided(width):
    """Also for tokens that are all alike, as those of an untrained ViT are: the cross-entropy starts near log 2."""
    for seed in range(4):
        torch.manual_seed(seed)
        tokens = torch.randn(1, 1, width).expand(8, 17, width) + 0.1 * torch.randn(8, 17, width)
        head, is_original = PatchDiscriminationHead(width), torch.arange(16).remainder(4).eq(0).float().expand(8, 16)
        assert head.loss(head(tokens), is_original).item() == pytest.approx(math.log(2), abs=0.35)
