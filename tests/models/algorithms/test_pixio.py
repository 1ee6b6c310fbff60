"""Pixio: several class tokens, learned positions, masks of 4 x 4 patches and a deeper decoder, against its formulas."""

import copy

import pytest
import torch
from gan_harness import batch_of, optimizers
from harness import FLOAT32, METHODS
from torch.nn import functional as F

import mmmim
from mmmim.checkpoint.encoder import EncoderMismatchError, detect_scheme, from_mmmim, left_out, to_mmmim
from mmmim.commands.convert import convert
from mmmim.models.algorithms import MAE
from mmmim.models.backbones import DenseViT, MaskedViT
from mmmim.models.masking import Masking
from mmmim.registry import MODELS

WIDTH, DEPTH, HEADS, CLASSES, GRID = 24, 2, 3, 3, 8  # patches of 4 x 4 pixels, blocks of 4 x 4 patches
ENCODER = dict(
    arch=dict(embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS),
    img_size=32,
    patch_size=4,
    num_class_tokens=CLASSES,
    learned_positions=True,
)


def build_mae(**changes):
    """All parameters random, in float64."""
    torch.manual_seed(0)
    mae = MAE(
        dict(type='MaskedViT', **ENCODER),
        dict(type='MAEDecoder', embed_dim=16, depth=3, num_heads=2, learned_positions=True),
        dict(type='PixelTarget', norm_pix=True),
        dict(type='ReconstructionHead'),
        masking='unit',
        mask_options=dict(unit=4),
        **changes,
    ).eval()
    for param in mae.parameters():
        param.data.add_(torch.randn_like(param) * 0.1)
    return mae.double()


def images(size=32):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)).double()


# ------------------------------------------------------------------------------------------------- against formulas


def block(state, x, name, heads):
    """A pre-norm transformer block with timm's names."""
    width = x.shape[-1]

    def layer(x, part):
        return F.linear(x, state[f'{name}.{part}.weight'], state[f'{name}.{part}.bias'])

    def norm(x, part):
        return F.layer_norm(x, (width,), state[f'{name}.{part}.weight'], state[f'{name}.{part}.bias'], 1e-6)

    query, key, value = layer(norm(x, 'norm1'), 'attn.qkv').unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    weights = (query @ key.mT / (width / heads) ** 0.5).softmax(-1)
    x = x + layer((weights @ value).transpose(1, 2).flatten(2), 'attn.proj')
    return x + layer(F.gelu(layer(norm(x, 'norm2'), 'mlp.fc1')), 'mlp.fc2')


def pixio_loss(state, images, noise, ratio=0.75, unit=4):
    """The loss of Pixio by its paper and the names of its code, image by image."""
    tables, losses = (state['pos_embed'][0], state['decoder_pos_embed'][0]), []
    kept_units = int(noise.shape[1] * (1 - ratio))
    for image, drawn in zip(images, noise):
        kept = drawn.argsort()[:kept_units].tolist()
        side = GRID // unit
        place = [(row // unit) * side + column // unit for row in range(GRID) for column in range(GRID)]
        visible = torch.tensor([unit_of in kept for unit_of in place])
        pixels = image.reshape(3, GRID, 4, GRID, 4)
        patches = F.conv2d(image[None], state['patch_embed.proj.weight'], state['patch_embed.proj.bias'], 4)
        x = patches[0].flatten(1).T + tables[0][CLASSES:]
        x = torch.cat([state['cls_token'][0] + tables[0][:CLASSES], x[visible]])[None]
        for index in range(DEPTH):
            x = block(state, x, f'blocks.{index}', HEADS)
        x = F.layer_norm(x, (WIDTH,), state['norm.weight'], state['norm.bias'], 1e-6)
        x = F.linear(x, state['decoder_embed.weight'], state['decoder_embed.bias'])[0]
        full = state['mask_token'][0].repeat(GRID**2, 1)
        full[visible] = x[CLASSES:]
        x = (torch.cat([x[:CLASSES], full]) + tables[1])[None]
        for index in range(3):
            x = block(state, x, f'decoder_blocks.{index}', 2)
        x = F.layer_norm(x, (16,), state['decoder_norm.weight'], state['decoder_norm.bias'], 1e-6)[0, CLASSES:]
        prediction = F.linear(x, state['decoder_pred.weight'], state['decoder_pred.bias'])
        target = pixels.permute(1, 3, 2, 4, 0).flatten(2).flatten(0, 1)  # [L, P*P*C]
        target = (target - target.mean(1, keepdim=True)) / (target.var(1, keepdim=True) + 1e-6).sqrt()
        losses.append((prediction - target).square().mean(1)[~visible].mean())
    return torch.stack(losses).mean()


def test_loss_and_gradients_are_pixios():
    mae, noise = build_mae(), torch.rand(2, 4, generator=torch.Generator().manual_seed(2))
    loss = mae.loss(images(), noise=noise)['loss']
    loss.backward()
    state = from_mmmim(mae.state_dict(), 'mae')  # the names of its code
    state = {name: value.detach().clone().requires_grad_() for name, value in state.items()}
    expected = pixio_loss(state, images(), noise)
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=1e-10, rtol=0)
    own = from_mmmim({name: param.grad for name, param in mae.named_parameters()}, 'mae')
    assert set(own) == set(state)
    for name, value in state.items():
        torch.testing.assert_close(own[name], value.grad, atol=1e-10, rtol=0, msg=name)


def test_4_of_16_blocks_of_4_x_4_patches_stay_at_256_px():
    masking = Masking('unit', 0.75, (16, 16), unit=4)
    mask = masking(torch.rand(5, *masking.noise_shape))
    assert masking.noise_shape == (16,) and masking.num_keep == 64
    blocks = mask.mask.reshape(5, 4, 4, 4, 4).transpose(2, 3).flatten(3).flatten(1, 2)  # [B, 16, 16]
    assert ((blocks == 0).all(2) | (blocks == 1).all(2)).all()
    assert ((blocks == 0).all(2).sum(1) == 4).all()


# ------------------------------------------------------------------------------------------------ learned positions


def test_learned_positions_begin_random_and_the_default_is_fixed():
    torch.manual_seed(0)
    arch = dict(embed_dim=192, depth=1, num_heads=2)
    vit = MaskedViT(arch, 64, 4, num_class_tokens=2, learned_positions=True)
    assert vit.pos_embed.requires_grad and vit.pos_embed.shape == (1, 2 + 256, 192)
    for part in vit.pos_embed.detach().split((2, 256), dim=1):
        assert part.std() == pytest.approx(0.02, rel=0.1) and abs(part.mean()) < 0.004
    fixed = MaskedViT(arch, 64, 4)
    assert not fixed.pos_embed.requires_grad and fixed.pos_embed.abs().max() == 1
    assert not build_mae().neck.decoder_pos_embed.isnan().any() and build_mae().neck.decoder_pos_embed.requires_grad
    assert not MaskedViT(arch, 64, 4, learned_positions=True, trainable_blocks=0).pos_embed.requires_grad


@pytest.mark.parametrize('method', METHODS)
def test_a_step_of_every_method_trains_them(method):
    cfg = copy.deepcopy(METHODS[method])
    for part in ('backbone', 'generator', 'neck', 'feature_decoder'):
        if part in cfg:
            cfg[part].update(learned_positions=True)
    torch.manual_seed(0)
    model, data = MODELS.build(cfg).train(), batch_of(48)  # each patch is visible in some image
    if method == 'cmae':
        data['inputs'] = [data['inputs'], data['inputs'].flip(3)]
    tables = {name: param for name, param in model.named_parameters() if 'pos_embed' in name and param.requires_grad}
    assert 'backbone.pos_embed' in tables and ('neck.decoder_pos_embed' in tables) == ('neck' in cfg)
    before = {name: table.clone() for name, table in tables.items()}
    model.train_step(data, optimizers(model, optimizer=dict(type='SGD', lr=1.0)))
    for name, table in tables.items():
        assert (table != before[name]).any(-1).all(), name


# ------------------------------------------------------------------------------------------------------ checkpoints


def hugging_face(encoder):
    """The names of transformers' PixioModel, from timm's."""
    names = {
        'cls_token': 'embeddings.cls_token',
        'pos_embed': 'embeddings.position_embeddings',
        'patch_embed.proj.weight': 'embeddings.patch_embeddings.projection.weight',
        'patch_embed.proj.bias': 'embeddings.patch_embeddings.projection.bias',
        'norm.weight': 'layernorm.weight',
        'norm.bias': 'layernorm.bias',
    }
    state = {}
    for name, value in encoder.items():
        theirs = names.get(name) or name.replace('blocks.', 'encoder.layer.')
        theirs = theirs.replace('attn.proj', 'attention.output.dense')
        if 'attn.qkv' in theirs:
            for part, tensor in zip(('query', 'key', 'value'), value.chunk(3)):
                state[theirs.replace('attn.qkv', f'attention.attention.{part}')] = tensor
        else:
            state[theirs] = value
    return state


@pytest.mark.parametrize('names', ['authors, encoder', 'authors, pre-training', 'hugging face'])
@torch.no_grad()
def test_its_files_load(names, tmp_path):
    mae = build_mae().float()
    encoder = {name: value.clone() for name, value in mae.backbone.state_dict().items()}
    state = hugging_face(encoder) if names == 'hugging face' else encoder
    if 'pre-training' in names:
        state = dict(model=from_mmmim(mae.state_dict(), 'mae'))
    path = str(tmp_path / 'pixio.pth')
    torch.save(state, path)
    expected = mae.backbone(images().float())
    init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    for options in (dict(learned_positions=False), {}):  # the table is fixed, or goes on learning
        ours = MaskedViT(**{**ENCODER, **options}, init_cfg=init_cfg).eval()
        ours.init_weights()
        torch.testing.assert_close(ours(images().float()), expected, **FLOAT32)
    dense = DenseViT(ENCODER['arch'], 32, 4, num_class_tokens=CLASSES, final_norm=True, out_indices=(1,))
    dense.load_pretrained(path, logger='silent')
    torch.testing.assert_close(dense.eval()(images().float())[0].flatten(2).mT, expected[:, CLASSES:], **FLOAT32)
    larger = MaskedViT(**{**ENCODER, 'img_size': 64})
    larger.load_pretrained(path, logger='silent')
    assert torch.equal(larger.pos_embed[:, :CLASSES], encoder['pos_embed'][:, :CLASSES])
    with pytest.raises(EncoderMismatchError, match='num_class_tokens=3'):
        MaskedViT(**{**ENCODER, 'num_class_tokens': 1}).load_pretrained(path, logger='silent')
    timms = mmmim.load_encoder(path, num_heads=HEADS)  # further class tokens are registers there
    torch.testing.assert_close(timms.forward_features(images().float()), expected, **FLOAT32)


def test_several_class_tokens_are_written_where_they_can_be_and_refused_elsewhere(tmp_path):
    ours = {key: value for key, value in build_mae().state_dict().items() if key.startswith(('backbone.', 'neck.'))}
    there = from_mmmim(ours, 'mae')
    assert detect_scheme(there) == 'mae' and not left_out(ours, 'mae')
    back = to_mmmim(there)
    assert set(back) == set(ours) and all(torch.equal(back[name], ours[name]) for name in ours)
    torch.save(dict(state_dict=ours), tmp_path / 'ours.pth')
    for scheme in ('hf', 'mmpretrain', 'cmae'):
        with pytest.raises(ValueError, match=f'3 class tokens, and models with the names of {scheme} have one'):
            convert(str(tmp_path / 'ours.pth'), str(tmp_path / f'{scheme}.pth'), scheme)
        assert not (tmp_path / f'{scheme}.pth').exists()


def test_their_mean_as_features():
    mae = build_mae()
    tokens = mae.backbone(images())
    assert torch.allclose(mae.extract_features(images(), 'cls_mean'), tokens[:, :CLASSES].mean(1))
