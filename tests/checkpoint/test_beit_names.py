"""ViTs with relative positions in the names of SimMIM's and BEiT's authors compute what they did there."""

import sys
import types
from pathlib import Path

import pytest
import torch
from harness import FLOAT32
from mmengine.registry import DefaultScope
from mmpretrain.models import BEiTViT
from mmpretrain.registry import MODELS as MMPRETRAIN
from timm.layers import resize_rel_pos_bias_table
from timm.models.beit import Beit

import mmmim
from mmmim.checkpoint import export_encoder
from mmmim.checkpoint.encoder import EncoderMismatchError, detect_scheme, from_mmmim, left_out, to_mmmim
from mmmim.checkpoint.schemes.beit import TABLE
from mmmim.checkpoint.schemes.names import classifier_name
from mmmim.config.classification import settle_classifier
from mmmim.config.load import load_config
from mmmim.models.backbones import DenseViT, MaskedViT, RelativeViT

WIDTH, DEPTH, HEADS, SIDE, PATCH = 24, 2, 3, 4, 8
SIZE = SIDE * PATCH
OURS = dict(arch=dict(embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS), img_size=SIZE, patch_size=PATCH)
CONFIG = str(Path(__file__).parents[2] / 'configs/downstream/classification/vit-b_finetune_100e_simmim.py')


def authors_vit(kind, side=SIDE):
    """The public names of SimMIM's VisionTransformer, which are BEiT's: pre-trained (shared table) or fine-tuned."""
    generator = torch.Generator().manual_seed(0)
    rows = (2 * side - 1) ** 2 + 3
    shapes = {
        'cls_token': (1, 1, WIDTH),
        'patch_embed.proj.weight': (WIDTH, 3, PATCH, PATCH),
        'patch_embed.proj.bias': (WIDTH,),
    }
    for i in range(DEPTH):
        block = {
            'norm1.weight': (WIDTH,),
            'norm1.bias': (WIDTH,),
            'norm2.weight': (WIDTH,),
            'norm2.bias': (WIDTH,),
            'attn.q_bias': (WIDTH,),
            'attn.v_bias': (WIDTH,),
            'attn.qkv.weight': (3 * WIDTH, WIDTH),
            'attn.proj.weight': (WIDTH, WIDTH),
            'attn.proj.bias': (WIDTH,),
            'gamma_1': (WIDTH,),
            'gamma_2': (WIDTH,),
            'mlp.fc1.weight': (4 * WIDTH, WIDTH),
            'mlp.fc1.bias': (4 * WIDTH,),
            'mlp.fc2.weight': (WIDTH, 4 * WIDTH),
            'mlp.fc2.bias': (WIDTH,),
        }
        if kind == 'fine-tuned':
            block[f'attn.{TABLE}'] = (rows, HEADS)
        shapes.update({f'blocks.{i}.{name}': shape for name, shape in block.items()})
    if kind == 'pre-trained':
        shapes.update({f'rel_pos_bias.{TABLE}': (rows, HEADS), 'norm.weight': (WIDTH,), 'norm.bias': (WIDTH,)})
    else:
        shapes.update(
            {'fc_norm.weight': (WIDTH,), 'fc_norm.bias': (WIDTH,), 'head.weight': (5, WIDTH), 'head.bias': (5,)}
        )
    state = {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}
    for name in [name for name in state if name.endswith(TABLE)]:
        state[name.replace('bias_table', 'index')] = torch.zeros(side**2 + 1, side**2 + 1, dtype=torch.long)
    return state


def simmim_file(side=SIDE):
    state = {f'encoder.{key}': value for key, value in authors_vit('pre-trained', side).items()}
    return {
        **state,
        'encoder.mask_token': torch.ones(1, 1, WIDTH),
        'decoder.0.bias': torch.ones(3 * PATCH**2),
        'decoder.0.weight': torch.ones(3 * PATCH**2, WIDTH, 1, 1),
    }


def beit_file():
    return {
        **authors_vit('pre-trained'),
        'mask_token': torch.ones(1, 1, WIDTH),
        'lm_head.weight': torch.ones(9, WIDTH),
        'lm_head.bias': torch.ones(9),
    }


FILES = {'simmim': simmim_file, 'beit': beit_file, 'fine-tuned': lambda: authors_vit('fine-tuned')}


def reference(kind, out_type):
    """mmpretrain's BEiT with the same weights."""
    pooled = kind == 'fine-tuned'
    arch = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=4 * WIDTH)
    model = BEiTViT(
        arch,
        SIZE,
        PATCH,
        out_type=out_type,
        final_norm=not pooled,
        use_rel_pos_bias=pooled,
        use_shared_rel_pos_bias=not pooled,
    )
    renamed = {}
    for key, value in authors_vit('fine-tuned' if pooled else 'pre-trained').items():
        for ours, theirs in (
            ('patch_embed.proj.', 'patch_embed.projection.'),
            ('blocks.', 'layers.'),
            ('.norm1.', '.ln1.'),
            ('.norm2.', '.ln2.'),
            ('mlp.fc1', 'ffn.layers.0.0'),
            ('mlp.fc2', 'ffn.layers.1'),
        ):
            key = key.replace(ours, theirs)
        key = 'ln1' + key[4:] if key.startswith('norm.') else 'ln2' + key[7:] if key.startswith('fc_norm.') else key
        if 'relative_position_index' not in key and not key.startswith('head.'):
            renamed[key] = value
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    assert all('relative_position_index' in key for key in missing)
    assert not unexpected or (out_type == 'raw' and unexpected == ['ln2.weight', 'ln2.bias'])
    model.eval()  # which returns nothing
    return model


def images(height=SIZE, width=SIZE):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def same(left, right):
    torch.testing.assert_close(left, right, **FLOAT32)


@pytest.fixture(params=FILES)
def kind(request):
    return request.param


@pytest.fixture
def save(tmp_path):
    def _save(state, name='theirs.pth'):
        torch.save(dict(model=state), tmp_path / name)
        return str(tmp_path / name)

    return _save


def filled(path, **options):
    vit = RelativeViT(**{**OURS, **options}, init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'))
    vit.init_weights()
    return vit.eval()


# ------------------------------------------------------------------------------------------------------ the encoder


@torch.no_grad()
def test_the_backbone_computes_what_the_authors_did(kind, save, capsys):
    path, pooled = save(FILES[kind]()), kind == 'fine-tuned'
    expected = reference(kind, 'raw')(images())[0]
    vit = filled(path, final_norm=not pooled)
    same(vit(images()), expected)
    assert f'{len(vit.state_dict())} keys matched' in capsys.readouterr().out
    if not pooled:
        same(filled(path, relative_positions='shared')(images()), expected)


@torch.no_grad()
def test_load_encoder_gives_timms_beit(kind, save):
    path, pooled = save(FILES[kind]()), kind == 'fine-tuned'
    model = mmmim.load_encoder(path)
    assert isinstance(model, Beit) and not model.training
    assert model.pretrained_cfg['input_size'] == (3, SIZE, SIZE)
    tokens = reference(kind, 'raw')(images())[0]
    features = reference(kind, 'avg_featmap')(images())[0] if pooled else tokens[:, 1:].mean(1)
    same(model(images()), features)
    same(model.forward_features(images()), tokens)
    if not pooled:
        same(mmmim.load_encoder(path, pool='token')(images()), tokens[:, 0])
        same(mmmim.load_encoder(path, pool='')(images()), tokens)


@torch.no_grad()
def test_mmpretrains_beit_is_read_too(save):
    theirs = reference('fine-tuned', 'avg_featmap')
    assert detect_scheme(theirs.state_dict()) == 'mmpretrain'
    path = save(theirs.state_dict())
    same(mmmim.load_encoder(path)(images()), theirs(images())[0])
    theirs.out_type = 'raw'
    same(filled(path, final_norm=False)(images()), theirs(images())[0])


@torch.no_grad()
def test_a_classifier_of_the_authors_loads_whole_by_one_line(save):
    """All of it, the norm after pooling and the linear layer too: what load_from does for testing."""
    state = authors_vit('fine-tuned')
    cfg = load_config(CONFIG, dict(num_classes=5, pretrained=save(state)))
    cfg.model.backbone.update(OURS)
    settle_classifier(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MMPRETRAIN.build(cfg.model).eval()
    model.init_weights()
    same(model.backbone(images()), reference('fine-tuned', 'raw')(images())[0])
    named = {classifier_name(key): value for key, value in to_mmmim(state).items()}
    assert set(named) == set(model.state_dict()) - {'data_preprocessor.mean', 'data_preprocessor.std'}
    model.load_state_dict(named)
    features = reference('fine-tuned', 'avg_featmap')(images())[0]
    same(model(images(), mode='tensor'), features @ state['head.weight'].T + state['head.bias'])


# ------------------------------------------------------------------------------------------------------ names


def test_timm_takes_every_key_and_gives_it_back(kind, save):
    ours = to_mmmim(FILES[kind]())
    there = from_mmmim(ours, 'timm')
    fine_tuned = kind == 'fine-tuned'
    theirs = Beit(
        SIZE,
        PATCH,
        num_classes=5 if fine_tuned else 0,
        global_pool='avg' if fine_tuned else '',
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_rel_pos_bias=fine_tuned,
        use_shared_rel_pos_bias=not fine_tuned,
    )
    theirs.load_state_dict(there, strict=True)
    back = to_mmmim(theirs.state_dict())
    assert set(back) == set(ours) - set(left_out(ours, 'timm'))
    assert all(torch.equal(back[key], ours[key]) for key in back)
    assert [key for key in left_out(ours, 'timm') if key.startswith('backbone.')] == (
        [] if fine_tuned else ['backbone.mask_token']
    )


@torch.no_grad()
def test_our_own_checkpoints_travel(tmp_path):
    vit = RelativeViT(**{**OURS, 'img_size': (SIZE, SIZE + PATCH)}, final_norm=True).eval()
    for parameter in vit.parameters():
        parameter.normal_(std=0.3)
    path = str(tmp_path / 'encoder.safetensors')
    export_encoder(vit, path, dict(backbone=dict(type='RelativeViT', **{**OURS, 'img_size': [SIZE, SIZE + PATCH]})))
    same(mmmim.load_encoder(path, pool='')(images(SIZE, SIZE + PATCH)), vit(images(SIZE, SIZE + PATCH)))
    again = filled(path, img_size=(SIZE, SIZE + PATCH))
    assert all(torch.equal(value, vit.state_dict()[key]) for key, value in again.state_dict().items())
    with pytest.raises(EncoderMismatchError, match='resized from square maps only'):
        mmmim.load_encoder(path, img_size=2 * SIZE)


def test_the_authors_config_in_a_file_is_read_as_plain_values(tmp_path, monkeypatch):
    """yacs writes a class of its own; that library is not asked for, and what is read is a dictionary."""
    package, module = types.ModuleType('yacs'), types.ModuleType('yacs.config')

    class CfgNode(dict):
        pass

    CfgNode.__module__, CfgNode.__qualname__ = 'yacs.config', 'CfgNode'
    module.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, 'yacs', package)
    monkeypatch.setitem(sys.modules, 'yacs.config', module)
    node = CfgNode(VIT=CfgNode(DEPTH=2), NAME='simmim_pretrain')
    node.__dict__.update(__immutable__=True, __deprecated_keys__=set())
    torch.save(dict(model=simmim_file(), config=node, epoch=799), tmp_path / 'theirs.pth')
    monkeypatch.undo()
    config = mmmim.checkpoint.load_file(tmp_path / 'theirs.pth')['config']
    assert config == dict(VIT=dict(DEPTH=2), NAME='simmim_pretrain') and not isinstance(config, CfgNode)
    assert isinstance(mmmim.load_encoder(str(tmp_path / 'theirs.pth')), Beit)


# ------------------------------------------------------------------------------------------------------ other sizes


@pytest.mark.parametrize('side', [3, 6])
@torch.no_grad()
def test_tables_for_another_map_are_resized_as_timm_does(side, save, capsys):
    path, size = save(simmim_file()), side * PATCH
    vit = filled(path, img_size=size)
    said = capsys.readouterr().out
    assert 'copied to each of 2 blocks' in said and f'resized from 4 x 4 to {side} x {side}' in said
    table = authors_vit('pre-trained')[f'rel_pos_bias.{TABLE}']
    own = vit.blocks[1].attn.relative_position_bias_table
    expected = resize_rel_pos_bias_table(table, (side, side), own.shape)
    assert torch.equal(own, expected) and torch.equal(own[-3:], table[-3:])
    middle = ((2 * side - 1) ** 2 - 1) // 2
    same(own[middle], table[24])  # no offset stays no offset
    same(mmmim.load_encoder(path, img_size=size, pool='')(images(size, size)), vit(images(size, size)))


# ------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize('relative', ['separate', 'shared'])
def test_relative_positions_learn(relative):
    vit = RelativeViT(**OURS, relative_positions=relative)
    with torch.autocast('cpu', torch.bfloat16):
        tokens = vit(images())
    (tokens.float() * torch.randn(tokens.shape)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in vit.parameters())
    with torch.no_grad():
        same(vit(images()), (vit.train())(images()))  # without stochastic depth the mode changes nothing


@pytest.mark.parametrize(
    'blocks, trained',
    [
        (0, set()),
        (0.5, {'blocks.1.gamma_2', 'blocks.1.mlp', 'blocks.1.norm2', 'norm'}),
        (
            1,
            {
                'blocks.1.gamma_1',
                'blocks.1.gamma_2',
                'blocks.1.mlp',
                'blocks.1.norm1',
                'blocks.1.norm2',
                'blocks.1.attn',
                'norm',
            },
        ),
    ],
)
def test_what_is_trained_with_the_last_blocks(blocks, trained):
    for relative in ('separate', 'shared'):
        vit = RelativeViT(**OURS, relative_positions=relative, trainable_blocks=blocks)
        names = {name for name, parameter in vit.named_parameters() if parameter.requires_grad}
        assert {'.'.join(name.split('.')[: 3 if name.startswith('blocks') else 1]) for name in names} == trained


def test_layers_of_the_parameters():
    vit = RelativeViT(**OURS, relative_positions='shared')
    depth = {name: vit.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in vit.named_parameters()}
    assert depth['cls_token'] == depth['patch_embed.proj.weight'] == (0, 4)
    assert depth['blocks.1.gamma_1'] == (2, 4)
    assert depth[f'rel_pos_bias.{TABLE}'] == depth['norm.weight'] == (3, 4)


# ------------------------------------------------------------------------------------------------------ refusals


def test_encoders_of_another_kind_are_refused(save):
    simmim, fine_tuned = save(simmim_file(), 'simmim.pth'), save(authors_vit('fine-tuned'), 'fine_tuned.pth')
    for other in (MaskedViT(**OURS), DenseViT(**OURS, out_indices=[1])):
        with pytest.raises(EncoderMismatchError, match='mmmim.RelativeViT is the backbone'):
            other.load_pretrained(checkpoint=simmim)
    vit = RelativeViT(**OURS, relative_positions='shared', final_norm=False)
    before = {key: value.clone() for key, value in vit.state_dict().items()}
    with pytest.raises(EncoderMismatchError, match=f'Missing in the file .*rel_pos_bias.{TABLE}'):
        vit.load_pretrained(checkpoint=fine_tuned)
    assert all(torch.equal(value, before[key]) for key, value in vit.state_dict().items())
    plain = save(MaskedViT(**OURS).state_dict(), 'plain.pth')
    with pytest.raises(EncoderMismatchError, match='Missing in the file .*attn.q_bias'):
        RelativeViT(**OURS).load_pretrained(checkpoint=plain)
    with pytest.raises(ValueError, match="relative_positions='both' is not known"):
        RelativeViT(**OURS, relative_positions='both')


def test_a_table_that_fits_no_map_is_refused(save):
    state = simmim_file()
    state[f'encoder.rel_pos_bias.{TABLE}'] = torch.ones(49, HEADS)
    with pytest.raises(EncoderMismatchError, match='49 rows'):
        mmmim.load_encoder(save(state))
    with pytest.raises(EncoderMismatchError, match='Different shapes'):
        RelativeViT(**OURS).load_pretrained(checkpoint=save(state))
