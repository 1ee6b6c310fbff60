"""Variants of CMAE, and what cannot be built or trained."""

import pytest
import torch
from cmae_harness import tiny, views
from harness import METHODS

from mmmim.models.masking import unit_masking


@pytest.mark.parametrize(
    'change',
    [
        dict(feature_decoder=None),
        dict(target_mask_ratio=0.5),
        dict(feature_decoder=dict(type='SharedDecoder', num_blocks=1)),
        dict(contrast_head=dict(type='ContrastiveHead', kind='byol')),
    ],
    ids=['none', 'masked-target', 'shared', 'byol'],
)
def test_variants_train_everything(change):
    model = tiny(**change)
    total, _ = model.parse_losses(model.loss(views()))
    total.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not without


def test_shared_decoder_adds_only_norm_and_output():
    model = tiny(feature_decoder=dict(type='SharedDecoder', num_blocks=1))
    names = {name for name in model.state_dict() if name.startswith('feature_decoder.')}
    assert names == {
        f'feature_decoder.decoder_{name}' for name in ('norm.weight', 'norm.bias', 'pred.weight', 'pred.bias')
    }
    full = tiny(feature_decoder=dict(type='SharedDecoder'))
    full.feature_decoder.decoder_norm.load_state_dict(full.neck.decoder_norm.state_dict())
    with torch.no_grad():
        mask = full.masking(torch.rand(4, 16))
        tokens = full.backbone(views()[0], mask)
        decoded = full.neck.decoder_norm(full.neck.decode(tokens, mask))[:, 1:]
        torch.testing.assert_close(full.feature_decoder(tokens, mask), full.feature_decoder.decoder_pred(decoded))


def test_target_sees_fewer_patches_by_the_samples_seeds():
    from mmmim.structures import DataSample

    model = tiny(target_mask_ratio=0.75)
    seen = []
    model.target_backbone.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    samples = [DataSample(metainfo=dict(seed=i)) for i in range(4)]
    for _ in range(2):
        model.loss(views(), samples)
    assert seen[0].mask.sum(1).tolist() == [12] * 4
    assert torch.equal(seen[0].mask, seen[1].mask)
    assert not torch.equal(seen[0].mask, model.draw_mask(views()[0], samples).mask)  # another stream


def test_unit_masks_keep_as_many_patches_as_the_authors():
    mask = unit_masking(torch.rand(2, 49), int(49 * 0.35), (14, 14))
    assert (mask.mask == 0).sum(1).tolist() == [68, 68]


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(feature_out='pixels'), 'one projector serves both'),
        (dict(target_backbone=dict(arch=dict(embed_dim=16, depth=2, num_heads=2))), 'equal shapes'),
        (
            dict(feature_decoder=dict(type='MAEDecoder', embed_dim=32, depth=1, num_heads=3)),
            'heads must divide the width',
        ),
        (dict(feature_decoder=dict(type='SharedDecoder', num_blocks=9)), 'has 1 blocks'),
        (dict(contrast_weight=-1), 'must not be negative'),
        (dict(feature_out='x'), 'is not known'),
        (dict(contrast_head=dict(type='ContrastiveHead', temperature=0)), 'must be positive'),
    ],
)
def test_what_cannot_be_built_says_why(change, message):
    with pytest.raises(ValueError, match=message):
        tiny(**change)


def test_unknown_keys_are_named():
    from mmmim.models.build import check_model

    with pytest.raises(TypeError, match='contrast_weight'):
        check_model({**METHODS['cmae'], 'contrast_wieght': 1})


def test_one_view_or_one_image_is_refused():
    model = tiny()
    with pytest.raises(ValueError, match='two views'):
        model.loss(views()[0])
    with pytest.raises(ValueError, match='at least 2 images.*Raise total_batch_size$'):
        model.check_batch(1)
    model.check_batch(2)
    model.check_batch(1, batches=2)  # both images of the step are contrasted
    with pytest.raises(ValueError, match='at least 2 images.*max_batch_per_device.*exact_accumulation=True'):
        tiny(exact_accumulation=False).check_batch(1, batches=2)


def test_crops_of_one_image_are_no_negatives():
    with pytest.raises(ValueError, match='repeat_crops=4: in the contrast .* pushed apart'):
        tiny().check_batch(16, repeat_crops=4)
    tiny(contrast_head=dict(type='ContrastiveHead', kind='byol')).check_batch(16, repeat_crops=4)
