"""Files of other projects compute here what they computed there: transformers 4 and 5, DINOv2, MAE-pytorch."""

import json
import re
from pathlib import Path

import pytest
import timm
import torch
import transformers
from harness import FLOAT32, transformers_model
from timm.models import adapt_input_conv

import mmmim
from mmmim.apis.from_checkpoint import load_backbone, read_source
from mmmim.checkpoint.encoder import EncoderMismatchError, detect_scheme, fill_encoder, open_encoder
from mmmim.checkpoint.generator import check_pixels
from mmmim.checkpoint.schemes.names import is_ours
from mmmim.commands.convert import convert
from mmmim.models.backbones import DenseViT, MaskedViT
from mmmim.models.targets import PixelTarget
from mmmim.positions import sincos_positions

NAMES = json.loads((Path(__file__).parents[1] / 'data' / 'hf_names.json').read_text())
READ = [name for name in NAMES['4'] if not name.startswith(('Beit', 'DINOv3')) and 'swiglu' not in name]


def randomise(model):
    torch.manual_seed(0)
    for param in model.parameters():
        param.data.normal_(std=0.3)
    return model.eval()


# ------------------------------------------------------------------------------------- transformers 4 and 5, by names


def values(shapes):
    """A state dict with a value for each name."""
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize('kind', ['state_dict', 'saved'])
@pytest.mark.parametrize('name', READ)
def test_version_5_has_all_that_version_4_has(name, kind):
    older, newer = (NAMES[version][name] for version in '45')
    older, newer = older.get('saved', older['state_dict']), newer.get(kind, newer['state_dict'])
    ours = {key: tuple(value.shape) for key, value in open_encoder(values(older)).whole().items()}
    file = open_encoder(values(newer))
    assert {key: tuple(value.shape) for key, value in file.whole().items()} == ours
    assert all(map(is_ours, file.others)) and file.scheme.name == 'hf'
    assert ('neck.decoder_blocks.0.attn.qkv.weight' in ours) == ('ForPreTraining' in name)
    file.check()


def test_queries_keys_and_values_of_version_5_are_in_order():
    state = values(NAMES['5']['ViTModel']['state_dict'])
    qkv = open_encoder(dict(state)).encoder['blocks.1.attn.qkv.weight']
    parts = [state[f'layers.1.attention.{part}_proj.weight'] for part in 'qkv']
    assert torch.equal(qkv, torch.cat(parts))
    del state['layers.1.attention.k_proj.weight']
    with pytest.raises(ValueError, match='blocks.1.attn.qkv.weight the file must hold query, key and value'):
        open_encoder(state)


def test_saved_files_of_version_5_convert_with_their_decoder(tmp_path):
    shapes = NAMES['5']['ViTMAEForPreTraining']
    torch.save(values(shapes['saved']), tmp_path / 'saved.pth')
    torch.save(values(shapes['state_dict']), tmp_path / 'memory.pth')
    for name in ('saved', 'memory'):
        said = convert(str(tmp_path / f'{name}.pth'), str(tmp_path / f'{name}_hf.pth'), 'hf')
        assert 'left out: nothing' in said
        written = torch.load(tmp_path / f'{name}_hf.pth')
        expected = NAMES['4']['ViTMAEForPreTraining']['state_dict']
        assert {key: list(value.shape) for key, value in written.items()} == expected


def test_a_decoder_that_is_not_understood_ends_a_conversion(tmp_path):
    state = values(NAMES['5']['ViTMAEForPreTraining']['saved'])
    state = {name.replace('decoder_encoder.layer', 'decoder_new.layer'): value for name, value in state.items()}
    torch.save(state, tmp_path / 'newer.pth')
    with pytest.raises(EncoderMismatchError, match='names were not understood: decoder.decoder_new.layer'):
        convert(str(tmp_path / 'newer.pth'), str(tmp_path / 'out.pth'), 'mae')
    assert not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize('version', '45')
@pytest.mark.parametrize(
    'name, said', [('DINOv3ViTModel', 'rotary positions'), ('Dinov2Model(use_swiglu_ffn)', 'gated MLP')]
)
def test_networks_that_nothing_here_computes_are_refused_by_their_kind(name, said, version):
    for kind in NAMES[version][name].values():
        with pytest.raises(EncoderMismatchError, match=said):
            open_encoder(values(kind))


# --------------------------------------------------------------------------------------------- DINOv2, in three names

SIZES = dict(embed_dim=48, depth=3, num_heads=3)


def dinov2(registers, no_embed_class=True):
    """timm's model of DINOv2: layer scale, patches of 14, registers without positions."""
    return randomise(
        timm.models.VisionTransformer(
            img_size=56,
            patch_size=14,
            num_classes=0,
            init_values=1.0,
            reg_tokens=registers,
            no_embed_class=no_embed_class and registers > 0,
            **SIZES,
        )
    )


def official(model, chunked=False):
    """The names of DINOv2's own files."""
    state = dict(model.state_dict(), mask_token=torch.ones(1, 48))
    if 'reg_token' in state:
        state['register_tokens'] = state.pop('reg_token')
        if model.no_embed_class:  # the class token's position is in the table
            row = torch.randn(1, 1, 48)
            state['pos_embed'] = torch.cat([row, state['pos_embed']], dim=1)
            state['cls_token'] = state['cls_token'] - row
    if chunked:  # blocks.CHUNK.INDEX; the index is that of the whole
        state = {
            name.replace('blocks.', f'blocks.{int(name.split(".")[1]) // 2}.')
            if name.startswith('blocks.')
            else name: v
            for name, v in state.items()
        }
    return state


def hugging_face(model):
    """transformers' model with the same weights."""
    with_registers = model.reg_token is not None
    config = dict(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=3,
        mlp_ratio=4,
        image_size=56,
        patch_size=14,
        layer_norm_eps=1e-6,
    )
    if with_registers:
        theirs = transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**config, num_register_tokens=model.reg_token.shape[1])
        )
    else:
        theirs = transformers.Dinov2Model(transformers.Dinov2Config(**config))
    state = {}
    for name, value in official(model).items():
        name = name.replace('patch_embed.proj', 'embeddings.patch_embeddings.projection')
        name = name.replace('blocks.', 'encoder.layer.').replace('attn.proj', 'attention.output.dense')
        for n in '12':
            name = name.replace(f'ls{n}.gamma', f'layer_scale{n}.lambda1')
        name = {'norm.weight': 'layernorm.weight', 'norm.bias': 'layernorm.bias'}.get(name, name)
        name = name.replace('pos_embed', 'position_embeddings')
        if name in ('cls_token', 'mask_token', 'register_tokens', 'position_embeddings'):
            name = f'embeddings.{name}'
        if 'attn.qkv' in name:
            for part, tensor in zip(('query', 'key', 'value'), value.chunk(3)):
                state[name.replace('attn.qkv', f'attention.attention.{part}')] = tensor
        else:
            state[name] = value
    return transformers_model(theirs, state)


@pytest.mark.parametrize('names', ['timm', 'official', 'chunked', 'teacher', 'hugging face'])
@pytest.mark.parametrize('registers', [0, 4])
@torch.no_grad()
def test_dinov2_computes_the_same(names, registers, tmp_path):
    model = dinov2(registers)
    images = torch.randn(2, 3, 56, 56)
    expected = model.forward_features(images)
    state = official(model, chunked=names == 'chunked')
    if names == 'hugging face':
        theirs = hugging_face(model)
        torch.testing.assert_close(theirs(images).last_hidden_state, expected, **FLOAT32)
        state = theirs.state_dict()
    elif names == 'timm':
        state = model.state_dict()
    elif names == 'teacher':
        heads = {'dino_head.mlp.0.weight': torch.ones(2, 48), 'ibot_head.last_layer.weight_v': torch.ones(2, 2)}
        state = dict(teacher={**{f'backbone.{name}': value for name, value in state.items()}, **heads})
    torch.save(state, tmp_path / 'dinov2.pth')
    path = str(tmp_path / 'dinov2.pth')
    loaded = mmmim.load_encoder(path, num_heads=3)
    assert (loaded.num_class_tokens, loaded.num_register_tokens) == (1, registers)
    torch.testing.assert_close(loaded.forward_features(images), expected, **FLOAT32)
    init = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    ours = MaskedViT(SIZES, 56, 14, num_register_tokens=registers, init_cfg=init)
    ours.init_weights()
    torch.testing.assert_close(ours.eval()(images), expected, **FLOAT32)
    dense = DenseViT(SIZES, 56, 14, num_register_tokens=registers, final_norm=True, out_indices=(2,), init_cfg=init)
    dense.init_weights()
    torch.testing.assert_close(
        dense.eval()(images)[0].flatten(2).transpose(1, 2), expected[:, 1 + registers :], **FLOAT32
    )
    if registers:
        with pytest.raises(EncoderMismatchError, match='The backbone needs num_register_tokens=4'):
            MaskedViT(SIZES, 56, 14, init_cfg=init).init_weights()
        windows = DenseViT(SIZES, 56, 14, window_size=2, global_blocks=(2,), out_indices=(0, 2))
        report = fill_encoder(windows, path)
        assert any('class token and register tokens of the file were dropped' in note for note in report.notes)


@pytest.mark.parametrize('no_embed_class', [False, True])
@torch.no_grad()
def test_positions_of_registers_in_each_layout_of_timm(no_embed_class, tmp_path):
    model = dinov2(2, no_embed_class)
    images = torch.randn(2, 3, 56, 56)
    larger = torch.randn(2, 3, 84, 84)
    torch.save(model.state_dict(), tmp_path / 'timm.pth')
    loaded = mmmim.load_encoder(str(tmp_path / 'timm.pth'), num_heads=3)
    torch.testing.assert_close(loaded.forward_features(images), model.forward_features(images), **FLOAT32)
    model.set_input_size((84, 84))
    loaded = mmmim.load_encoder(str(tmp_path / 'timm.pth'), num_heads=3, img_size=84)
    torch.testing.assert_close(loaded.forward_features(larger), model.forward_features(larger), **FLOAT32)


@torch.no_grad()
def test_several_class_tokens(tmp_path):
    source = randomise(MaskedViT(SIZES, 56, 14, num_class_tokens=3, num_register_tokens=2))
    images = torch.randn(2, 3, 56, 56)
    torch.save({f'backbone.{name}': value for name, value in source.state_dict().items()}, tmp_path / 'ours.pth')
    loaded = mmmim.load_encoder(str(tmp_path / 'ours.pth'), num_heads=3)
    assert (loaded.num_class_tokens, loaded.num_register_tokens, loaded.num_prefix_tokens) == (3, 2, 5)
    torch.testing.assert_close(loaded.forward_features(images), source(images), **FLOAT32)
    with pytest.raises(EncoderMismatchError, match='num_class_tokens=3(?s:.*)num_register_tokens=2'):
        fill_encoder(MaskedViT(SIZES, 56, 14), str(tmp_path / 'ours.pth'))
    convert(str(tmp_path / 'ours.pth'), str(tmp_path / 'timm.pth'), 'timm')
    theirs = timm.models.VisionTransformer(56, 14, num_classes=0, reg_tokens=4, **SIZES).eval()
    theirs.load_state_dict(torch.load(tmp_path / 'timm.pth'), strict=True)
    torch.testing.assert_close(theirs.forward_features(images), source(images), **FLOAT32)


# -------------------------------------------------------------------------------------------------- what files lack


def mae_pytorch():
    """The names of MAE-pytorch's pre-training model, of which the file has no positions."""
    vit = randomise(timm.models.VisionTransformer(32, 8, num_classes=0, class_token=False, global_pool='', **SIZES))
    state = {}
    for name, value in vit.state_dict().items():
        if name.endswith('attn.qkv.bias'):  # queries and values have biases, keys none
            value[48:96] = 0
            stem = f'encoder.{name[: -len("qkv.bias")]}'
            state[f'{stem}q_bias'], state[f'{stem}v_bias'] = value[:48].clone(), value[96:].clone()
        elif name != 'pos_embed':
            state[f'encoder.{name}'] = value
    channel, place = torch.arange(48), torch.arange(16.0)[:, None]
    angle = place / 10000 ** (2 * torch.div(channel, 2, rounding_mode='floor') / 48)
    vit.pos_embed.data = torch.where(channel % 2 == 0, angle.sin(), angle.cos())[None]
    decoder = {'encoder_to_decoder.weight': torch.ones(8, 48), 'decoder.head.bias': torch.ones(8)}
    return vit, {**state, **decoder, 'mask_token': torch.ones(1, 1, 8)}


@torch.no_grad()
def test_mae_pytorch_has_its_own_table(tmp_path):
    vit, state = mae_pytorch()
    assert detect_scheme(dict(model=state)) == 'mae-pytorch'
    images = torch.randn(2, 3, 32, 32)
    ours = MaskedViT(SIZES, 32, 8, class_token=False)
    report = fill_encoder(ours, dict(model=state))
    assert any("one of its project's code was rebuilt" in note for note in report.notes)
    torch.testing.assert_close(ours.eval()(images), vit.forward_features(images), **FLOAT32)
    assert not torch.allclose(ours.pos_embed, sincos_positions(48, (4, 4), 0))
    torch.save(dict(model=state), tmp_path / 'mae.pth')
    loaded = mmmim.load_encoder(str(tmp_path / 'mae.pth'), num_heads=3, img_size=32)
    torch.testing.assert_close(loaded.forward_features(images), vit.forward_features(images), **FLOAT32)


@pytest.mark.parametrize(
    'entry', ['vit_small_patch16_dinov3', 'eva02_tiny_patch14_224', 'vit_medium_patch16_rope_reg1_gap_256']
)
def test_rotary_models_of_timm_are_refused_as_masked_encoders(entry, tmp_path):
    """Without a table, with a gated MLP, with a table besides, in shapes that a plain ViT has too."""
    state = timm.create_model(entry, pretrained=False, num_classes=0, depth=2).state_dict()
    torch.save(state, tmp_path / 'rotary.pth')
    heads = state['patch_embed.proj.weight'].shape[0] // 64
    for read in (
        lambda path: mmmim.load_encoder(path, num_heads=heads),
        lambda path: fill_encoder(MaskedViT(SIZES, 56, 14), path),
        lambda path: convert(path, f'{path}.out', 'hf'),
    ):
        with pytest.raises(EncoderMismatchError) as error:
            read(str(tmp_path / 'rotary.pth'))
        assert 'timm.create_model' in str(error.value) and '\n' not in str(error.value)


@torch.no_grad()
def test_names_that_two_networks_have_are_said(tmp_path):
    """timm's rope_ape and DeiT III's files."""
    model = randomise(timm.create_model('deit3_small_patch16_224', pretrained=False, num_classes=0, depth=1))
    images = torch.randn(1, 3, 224, 224)
    state = {re.sub(r'ls(\d).gamma', r'gamma_\1', name): value for name, value in model.state_dict().items()}
    file = open_encoder(state)
    assert 'DeiT III' in file.notes[0] and 'rope_ape' in file.notes[0]
    assert 'Perception Encoders' in open_encoder({**model.state_dict(), 'norm_pre.weight': torch.ones(384)}).notes[0]
    torch.save(state, tmp_path / 'deit3.pth')
    loaded = mmmim.load_encoder(str(tmp_path / 'deit3.pth'))
    torch.testing.assert_close(loaded.forward_features(images), model.forward_features(images), **FLOAT32)
    assert not open_encoder(model.state_dict()).notes


@pytest.mark.parametrize(
    'entry, said',
    [
        ('vit_base_patch16_clip_quickgelu_224', 'another activation than GELU'),
        ('vit_pe_spatial_tiny_patch16_512', 'Eva of timm'),
        ('vit_base_patch16_rpn_224', 'VisionTransformer of timm'),
        ('vit_base_patch16_clip_224', ''),
        ('eva_giant_patch14_224', 'no eps'),
    ],
)
@torch.no_grad()
def test_the_config_of_timm_beside_a_file_tells_what_the_names_do_not(entry, said, tmp_path):
    model = randomise(timm.create_model(entry, pretrained=False, num_classes=0, depth=1, img_size=112))
    timm.models.save_for_hf(model, str(tmp_path), model_args=dict(depth=1, img_size=112), safe_serialization=True)
    path = str(tmp_path / 'model.safetensors')
    if said and said != 'no eps':
        with pytest.raises(EncoderMismatchError, match=said):
            mmmim.load_encoder(path)
        return
    images = torch.randn(1, 3, 112, 112)
    loaded = mmmim.load_encoder(path)
    assert loaded.blocks[0].norm1.eps == (1e-6 if said else 1e-5)  # CLIP's
    torch.testing.assert_close(loaded.forward_features(images), model.forward_features(images), **FLOAT32)


def test_another_number_of_heads_is_another_network(tmp_path):
    """Where the config in the file, or a config.json beside it, states one."""
    text = f"model = dict(type='MAE', backbone=dict(type='MaskedViT', arch={SIZES}, img_size=32, patch_size=8))"
    state = {f'backbone.{name}': value for name, value in MaskedViT(SIZES, 32, 8).state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(cfg=text)), tmp_path / 'epoch_1.pth')
    theirs = transformers.ViTModel(
        transformers.ViTConfig(
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=3,
            intermediate_size=192,
            image_size=32,
            patch_size=8,
        )
    )
    theirs.save_pretrained(tmp_path)
    for name in ('epoch_1.pth', 'model.safetensors'):
        path = str(tmp_path / name)
        with pytest.raises(EncoderMismatchError, match='states 3 attention heads, the module has 6'):
            fill_encoder(MaskedViT({**SIZES, 'num_heads': 6}, 32, 8), path)
        with pytest.raises(ValueError, match='states 3 attention heads, and num_heads=6'):
            mmmim.load_encoder(path, num_heads=6)
        fill_encoder(MaskedViT(SIZES, 32, 8), path)


@torch.no_grad()
def test_embedding_takes_heads_and_widths_from_a_config_beside_the_file(tmp_path):
    config = dict(hidden_size=192, num_hidden_layers=2, num_attention_heads=12, intermediate_size=384)
    theirs = randomise(transformers.ViTModel(transformers.ViTConfig(**config, image_size=32, patch_size=8)))
    theirs.save_pretrained(tmp_path)
    backbone, _ = load_backbone(read_source(str(tmp_path / 'model.safetensors')))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(backbone(images), theirs(images).last_hidden_state, **FLOAT32)


@pytest.mark.parametrize('act', ['relu', 'quick_gelu', 'gelu_python'])
def test_another_activation_of_transformers_is_refused(act, tmp_path):
    config = transformers.ViTConfig(
        hidden_size=48, num_hidden_layers=1, num_attention_heads=3, intermediate_size=96, hidden_act=act
    )
    transformers.ViTModel(config).save_pretrained(tmp_path)
    if act == 'gelu_python':  # the same function
        assert open_encoder(str(tmp_path / 'model.safetensors')).num_heads() == 3
        return
    with pytest.raises(EncoderMismatchError, match=f'another activation than GELU .{act}'):
        open_encoder(str(tmp_path / 'model.safetensors'))


def test_ibots_mask_token():
    state = {**MaskedViT(SIZES, 32, 8).state_dict(), 'masked_embed': torch.ones(1, 48)}
    ours = MaskedViT(SIZES, 32, 8, mask_tokens=True)
    fill_encoder(ours, dict(student={f'module.backbone.{name}': value for name, value in state.items()}))
    assert bool((ours.mask_token == 1).all())


def test_moco_v3s_small_vit_has_twelve_heads():
    vit = timm.models.VisionTransformer(32, 8, embed_dim=384, depth=1, num_heads=12, num_classes=0)
    state = {f'module.base_encoder.{name}': value for name, value in vit.state_dict().items()}
    file = open_encoder(dict(arch='vit_small', state_dict={**state, 'module.predictor.0.weight': torch.ones(2)}))
    file.check()
    assert file.num_heads() == 12


def test_a_config_of_another_file_in_the_folder_is_not_this_ones(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps(dict(architecture='resnet50', num_classes=0)))
    torch.save(MaskedViT(SIZES, 32, 8).state_dict(), tmp_path / 'epoch_3.pth')
    mmmim.load_encoder(str(tmp_path / 'epoch_3.pth'), num_heads=3)


# ---------------------------------------------------------------------------------------------- channels and pixels


@pytest.mark.parametrize('channels', [1, 2, 5])
def test_another_number_of_channels_is_adapted_as_in_timm(channels, tmp_path):
    state = randomise(MaskedViT(SIZES, 32, 8)).state_dict()
    torch.save(state, tmp_path / 'rgb.pth')
    path = str(tmp_path / 'rgb.pth')
    init = dict(type='Pretrained', checkpoint=path)
    with pytest.raises(EncoderMismatchError, match='adapt_channels=True'):
        MaskedViT(SIZES, 32, 8, in_chans=channels, init_cfg=init).init_weights()
    ours = MaskedViT(SIZES, 32, 8, in_chans=channels)
    report = fill_encoder(ours, path, adapt_channels=True)
    assert any(f'from 3 to {channels} channels' in note for note in report.notes)
    expected = adapt_input_conv(channels, state['patch_embed.proj.weight'])
    assert torch.equal(ours.patch_embed.proj.weight, expected)
    with pytest.raises(EncoderMismatchError, match='adapt_channels=True'):
        mmmim.load_encoder(path, num_heads=3, in_chans=channels)
    loaded = mmmim.load_encoder(path, num_heads=3, in_chans=channels, adapt_channels=True)
    assert torch.equal(loaded.patch_embed.proj.weight, expected)
    assert loaded.pretrained_cfg['input_size'] == (channels, 32, 32)


def test_channels_that_timm_does_not_adapt_are_refused():
    state = MaskedViT(SIZES, 32, 8, in_chans=4).state_dict()
    with pytest.raises(EncoderMismatchError, match='not 4 to 5'):
        fill_encoder(MaskedViT(SIZES, 32, 8, in_chans=5), state, adapt_channels=True)


@pytest.mark.parametrize(
    'path, config, told',
    [
        ('mae_visualize_vit_large.pth', '', False),
        ('mae_visualize_vit_large_ganloss.pth', '', False),
        ('mae_pretrain_vit_base_full.pth', '', True),
        ('epoch_3.pth', '', None),
        ('epoch_3.pth', "target=dict(type='PixelTarget')", True),
        ('epoch_3.pth', "target=dict(type='mmmim.PixelTarget', norm_pix=False)", False),
        ('mae_visualize.pth', "target=dict(type='PixelTarget', norm_pix=True)", True),
        ('epoch_3.pth', "head=dict(type='MAEPretrainHead', norm_pix=True)", True),
    ],
)
def test_a_decoder_of_normalised_pixels_does_not_paint_raw_ones(path, config, told, tmp_path):
    state = {f'backbone.{name}': value for name, value in MaskedViT(SIZES, 32, 8).state_dict().items()}
    text = f"model = dict(type='MAE', backbone=dict(type='MaskedViT'), {config})" if config else ''
    content = dict(state_dict={**state, 'neck.decoder_pred.bias': torch.ones(3)}, meta=dict(cfg=text))
    torch.save(content, tmp_path / path)
    file = open_encoder(str(tmp_path / path))
    assert file.normalised_pixels() is told
    raw, normalised = PixelTarget(norm_pix=False), PixelTarget(norm_pix=True)
    if told:
        with pytest.raises(EncoderMismatchError, match='normalised pixels.*Set model.target.norm_pix=True'):
            check_pixels(file, raw, 'model.target.norm_pix')
        assert check_pixels(file, normalised, '') == []
    else:
        assert bool(check_pixels(file, raw, '')) == (told is None)
        assert bool(check_pixels(file, normalised, '')) == (told is False)
    file.others.clear()  # an encoder alone fits both
    assert check_pixels(file, raw, '') == []
