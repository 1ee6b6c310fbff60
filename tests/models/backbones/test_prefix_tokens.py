"""Several class tokens, and registers, beside the patches: equality with timm, and everything that follows."""

import copy

import pytest
import torch
from dense_harness import RELATIVE, as_map
from gan_harness import batch_of, optimizers
from harness import FLOAT32, METHODS
from timm.models.vision_transformer import VisionTransformer

from mmmim.models.backbones import DenseViT, MaskedViT
from mmmim.models.masking import Masking, take
from mmmim.registry import MODELS

ARCH = dict(embed_dim=48, depth=3, num_heads=3)
SIZE = dict(img_size=56, patch_size=14)  # 4 x 4 patches
BOTH = dict(num_class_tokens=2, num_register_tokens=2)


def build(kind=MaskedViT, **options):
    """All parameters random, the rows of the prefix in the position table too."""
    torch.manual_seed(0)
    vit = kind(**{**SIZE, 'arch': ARCH, **options}).eval()
    for param in vit.parameters():
        param.data.add_(torch.randn_like(param) * 0.1)
    return vit


def dense(**options):
    return build(DenseViT, **{'out_indices': [2], 'final_norm': True, **options})


def images(batch=2):
    return torch.randn(batch, 3, 56, 56, generator=torch.Generator().manual_seed(2))


def draw_mask(batch=2):
    return Masking('random', 0.5, (4, 4))(torch.rand(batch, 16, generator=torch.Generator().manual_seed(1)))


def random_timm(registers, class_token, no_embed_class):
    """timm's ViT, and its state dict with a row of positions for every token."""
    torch.manual_seed(3)
    theirs = VisionTransformer(
        **SIZE,
        **ARCH,
        num_classes=0,
        reg_tokens=registers,
        class_token=class_token,
        no_embed_class=no_embed_class,
        global_pool='',
    ).eval()
    for param in theirs.parameters():
        param.data.add_(torch.randn_like(param) * 0.1)
    state = theirs.state_dict()
    if no_embed_class:
        rows = state['pos_embed'].new_zeros(1, theirs.num_prefix_tokens, 48)
        state['pos_embed'] = torch.cat([rows, state['pos_embed']], dim=1)
    return theirs, state


# --------------------------------------------------------------------------------------------------- equality with timm


@pytest.mark.parametrize('no_embed_class', [False, True])
@pytest.mark.parametrize('registers, class_token', [(4, True), (1, False)])
@torch.no_grad()
def test_features_are_timms(registers, class_token, no_embed_class):
    theirs, state = random_timm(registers, class_token, no_embed_class)
    options = dict(num_register_tokens=registers, class_token=class_token)
    ours, maps = build(**options), dense(**options)
    for vit in (ours, maps):
        vit.load_state_dict(state, strict=True)
    prefix, expected = registers + class_token, theirs.forward_features(images())
    assert (ours.num_prefix_tokens, ours.num_register_tokens) == (prefix, registers)
    torch.testing.assert_close(ours(images()), expected, **FLOAT32)
    torch.testing.assert_close(maps(images())[-1], as_map(expected, (4, 4)), **FLOAT32)

    mask = draw_mask()
    tokens = theirs._pos_embed(theirs.patch_embed(images()))
    tokens = torch.cat([tokens[:, :prefix], take(tokens[:, prefix:], mask.ids_keep)], dim=1)
    torch.testing.assert_close(ours(images(), mask), theirs.norm(theirs.blocks(tokens)), **FLOAT32)
    everything = mask._replace(ids_keep=torch.arange(16).expand(2, -1))
    torch.testing.assert_close(ours(images(), everything), expected, **FLOAT32)


@torch.no_grad()
def test_further_class_tokens_are_tokens_like_registers():
    """Only the name differs, and the place: class tokens first."""
    named, registers = build(**BOTH), build(num_register_tokens=3)
    state = named.state_dict()
    state['reg_token'] = torch.cat([state['cls_token'][:, 1:], state['reg_token']], dim=1)
    registers.load_state_dict({**state, 'cls_token': state['cls_token'][:, :1]}, strict=True)
    for mask in (None, draw_mask()):
        torch.testing.assert_close(named(images(), mask), registers(images(), mask), **FLOAT32)


@torch.no_grad()
def test_with_mask_tokens_all_places_come_out():
    vit, mask = build(mask_tokens=True, **BOTH), draw_mask()
    tokens = vit(images(), mask)
    assert tokens.shape == (2, 4 + 16, 48)
    black = images().unflatten(2, (4, 14)).unflatten(4, (4, 14)) * (1 - mask.mask.reshape(2, 1, 4, 1, 4, 1))
    assert torch.equal(vit(black.flatten(4).flatten(2, 3), mask), tokens)
    vit.blocks, vit.norm = torch.nn.ModuleList(), torch.nn.Identity()
    patches = vit(images(), mask)[:, 4:]
    expected = (vit.mask_token + vit.pos_embed[:, 4:]).expand_as(patches)
    assert torch.equal((patches == expected).all(-1), mask.mask.bool())


def test_tokens_are_random_and_their_positions_zero():
    vit = MaskedViT(**SIZE, arch=dict(embed_dim=192, depth=1, num_heads=2), **BOTH)
    assert vit.cls_token.shape == vit.reg_token.shape == (1, 2, 192)
    for token in (vit.cls_token, vit.reg_token):
        assert token.requires_grad and 0.017 < token.std() < 0.023
    assert vit.pos_embed.shape == (1, 4 + 16, 192) and not vit.pos_embed[:, :4].any()
    assert vit.pos_embed[:, 4:].any(-1).all()
    plain = MaskedViT(**SIZE, arch=ARCH)
    assert plain.num_prefix_tokens == 1 and 'reg_token' not in plain.state_dict()


@pytest.mark.parametrize('kind', [build, dense])
@pytest.mark.parametrize(
    'options, words',
    [
        (dict(num_class_tokens=0), 'num_class_tokens=0 must be at least 1 .*class_token=False'),
        (dict(num_register_tokens=-1), 'num_register_tokens=-1 not negative'),
        (dict(class_token=False, num_class_tokens=2), 'class_token=False .*num_class_tokens=2'),
    ],
)
def test_numbers_that_contradict_are_refused(kind, options, words):
    with pytest.raises(ValueError, match=words):
        kind(**options)


# ----------------------------------------------------------------------------------------------------------- dense maps


@pytest.mark.parametrize('relative', [None, *RELATIVE])
@torch.no_grad()
def test_prefix_tokens_attend_and_are_in_no_map(relative):
    """Each of them is seen by the patches, also where the map is larger than the table."""
    vit = dense(relative_positions=relative, **BOTH)
    for size, grid in (((56, 56), (4, 4)), ((84, 56), (6, 4))):
        x = torch.randn(1, 3, *size)
        (before,) = vit(x)
        assert before.shape == (1, 48, *grid)
        for token in (vit.cls_token, vit.reg_token):
            for place in range(2):
                token[:, place] *= -1
                assert not torch.allclose(vit(x)[0], before, atol=1e-4)
                token[:, place] *= -1
    for name, param in vit.named_parameters():
        if 'rel_pos' in name:
            param.zero_()
    tokens = build(**BOTH)
    tokens.load_state_dict({key: value for key, value in vit.state_dict().items() if 'rel_pos' not in key})
    torch.testing.assert_close(vit(images())[0], as_map(tokens(images()), (4, 4)), **FLOAT32)


@torch.no_grad()
def test_windows_drop_them():
    windows = dense(window_size=2, global_blocks=[1], **BOTH)
    assert windows.num_prefix_tokens == windows.num_register_tokens == 0
    assert windows.cls_token is None and windows.reg_token is None and windows.pos_embed.shape[1] == 16
    assert windows(images())[0].shape == (2, 48, 4, 4)


# ------------------------------------------------------------------------------------------------------------- training


def test_layers_and_freezing():
    vit = build(**BOTH)
    for name in ('cls_token', 'reg_token'):
        assert vit.get_layer_depth(f'backbone.{name}', 'backbone.') == (0, 5)
    partial = build(trainable_blocks=1, **BOTH)
    assert not partial.cls_token.requires_grad and not partial.reg_token.requires_grad
    assert build(trainable_blocks=3, **BOTH).reg_token.requires_grad


def model_of(method):
    """The harness's model with two class tokens and two registers in each encoder, and ``'simmim'``."""
    cfg = copy.deepcopy(METHODS['mae' if method == 'simmim' else method])
    for part in ('backbone', 'generator'):
        if part in cfg:
            cfg[part].update(BOTH)
    if method == 'simmim':
        cfg['backbone'].update(mask_tokens=True)
        cfg.update(neck=dict(type='SimMIMDecoder'), target=dict(type='PixelTarget', norm_pix=False))
    if method == 'gan_mae':
        cfg['image_head'] = dict(type='ImageDiscriminationHead')
    torch.manual_seed(0)
    return MODELS.build(cfg).train()


@pytest.mark.parametrize('method', [*METHODS, 'simmim'])
def test_a_step_of_every_method_trains_them(method):
    model, data = model_of(method), batch_of()
    if method == 'cmae':
        data['inputs'] = [data['inputs'], data['inputs'].flip(3)]
    encoders = {name: part for name, part in model.named_children() if isinstance(part, MaskedViT)}
    encoders.pop('target_backbone', None)  # a moving average
    before = {name: (part.cls_token.clone(), part.reg_token.clone()) for name, part in encoders.items()}
    log = model.train_step(data, optimizers(model, optimizer=dict(type='SGD', lr=1.0)))
    assert log and all(torch.as_tensor(value).isfinite().all() for value in log.values())
    for name, part in encoders.items():
        for old, new in zip(before[name], (part.cls_token, part.reg_token)):
            assert (new != old).any(-1).all(), name
    data = model.eval().data_preprocessor(data)
    assert all(sample.reconstruction.isfinite().all() for sample in model.predict(data['inputs'], data['data_samples']))


@torch.no_grad()
def test_the_decoder_gives_each_patch_its_own_place():
    """Predictions of removed patches alone, whose order is another, and of all patches."""
    mae = model_of('mae').eval()
    mask = Masking('random', 0.75, (4, 4))(torch.rand(2, 16))
    tokens = mae.backbone(torch.randn(2, 3, 16, 16), mask)
    assert mae.neck.decoder_pos_embed.shape[1] == 4 + 16
    every, removed = mae.neck(tokens, mask), mae.neck(tokens, mask, removed_only=True)
    torch.testing.assert_close(removed, every * mask.mask[..., None], **FLOAT32)


@torch.no_grad()
def test_features_are_pooled_from_patches_or_the_first_class_token():
    mae, inputs = model_of('mae').eval(), torch.randn(2, 3, 16, 16)
    tokens = mae.backbone(inputs)
    torch.testing.assert_close(mae.extract_features(inputs, 'mean'), tokens[:, 4:].mean(1), **FLOAT32)
    assert torch.equal(mae.extract_features(inputs, 'cls'), tokens[:, 0])


def test_a_register_is_no_class_token():
    cfg = copy.deepcopy(METHODS['gan_mae'])
    cfg['backbone'].update(class_token=False, num_register_tokens=2)
    cfg['image_head'] = dict(type='ImageDiscriminationHead')
    model = MODELS.build(cfg)
    assert model.image_head.pool == 'mean'
    with pytest.raises(ValueError, match="pool='cls': the encoder has no class token"):
        model.extract_features(torch.randn(1, 3, 16, 16), 'cls')
