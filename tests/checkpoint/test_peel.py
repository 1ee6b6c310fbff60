"""What training tools put around a network is taken off, in any order, or the error says what the file is."""

import re

import pytest
import timm
import torch
from harness import FLOAT32

import mmmim
from mmmim.checkpoint import fit, hub, peel, read
from mmmim.checkpoint.encoder import EncoderMismatchError, fill_encoder, open_encoder, to_mmmim
from mmmim.commands.convert import convert
from mmmim.models.backbones import DenseViT, MaskedViT

SIZES = dict(embed_dim=48, depth=2, num_heads=3)
WRAPPERS = ('_orig_mod.', 'module.', 'model.', 'net.', 'backbone.', '_fsdp_wrapped_module.', 'online_network.')


def vit(seed=0, **options):
    torch.manual_seed(seed)
    model = timm.models.VisionTransformer(img_size=32, patch_size=8, num_classes=0, **SIZES, **options).eval()
    for param in model.parameters():
        param.data.normal_(std=0.3)
    return model


STATE = vit().state_dict()
OTHER = vit(1).state_dict()


def under(prefix, state=STATE):
    return {prefix + name: value for name, value in state.items()}


def is_state(encoder, state=STATE):
    return set(encoder) == set(state) and all(torch.equal(encoder[name], value) for name, value in state.items())


@pytest.mark.parametrize('first', WRAPPERS)
@pytest.mark.parametrize('second', WRAPPERS)
def test_two_wrappers_in_any_order(first, second):
    for content in (under(first + second), dict(state_dict=under(first + second)), dict(model=dict(net=under(first)))):
        assert is_state(open_encoder(content).encoder)


def test_a_compiled_block_has_its_wrapper_inside_of_a_name():
    names = {name.replace('blocks.1.', 'blocks.1._orig_mod.'): value for name, value in STATE.items()}
    assert is_state(open_encoder(under('_orig_mod.', names)).encoder)


@pytest.mark.parametrize(
    'content',
    [
        dict(module=STATE, global_steps=3, optimizer=None),
        dict(model=dict(state_dict=STATE)),
        dict(weights=dict(vision=under('vit.'))),
        dict(epoch=3, state_dict=under('model.'), hyper_parameters=dict(lr=1.0), callbacks={}),
        dict(state_dict=STATE, optimizer=dict(state={0: dict(exp_avg=torch.ones(2))})),
        dict(model_state=STATE),
    ],
    ids=['DeepSpeed', 'two levels', 'own keys', 'Lightning', 'with an optimizer', 'Hiera key'],
)
def test_dictionaries_of_training_tools(content):
    assert is_state(open_encoder(content).encoder)


def test_heads_beside_a_prefix():
    """Also a model of timm with its head under ``backbone.``, as classifiers are written."""
    heads = ('head.weight', 'fc_norm.bias', 'attn_pool.latent')
    whole = STATE | {name: torch.ones(48) for name in heads}
    for prefix in ('backbone.', 'model.', 'backbone.model.'):
        file = open_encoder(under(prefix, whole))
        assert is_state(file.encoder) and set(file.others) == set(heads)
    heads = {'head.mlp.0.weight': torch.ones(3, 48), 'dino_head.last_layer.weight_v': torch.ones(4, 3)}
    file = open_encoder(dict(teacher={**under('module.backbone.'), **{f'module.{n}': v for n, v in heads.items()}}))
    assert is_state(file.encoder) and set(file.others) == set(heads)
    file.check()
    file = open_encoder({**under('model.'), 'head.weight': torch.ones(5, 48)})
    assert is_state(file.encoder) and set(file.others) == {'head.weight'}


@pytest.mark.parametrize(
    'content, taken, prefix',
    [
        (dict(student=under('module.backbone.', OTHER), teacher=under('backbone.')), 'teacher', 'student'),
        ({**under('student.backbone.', OTHER), **under('teacher.backbone.')}, 'teacher', 'student'),
        (dict(model=STATE, model_ema=OTHER), 'model', 'model_ema'),
        (
            dict(state_dict=STATE, ema_state_dict={**under('module.', OTHER), 'steps': torch.tensor(1)}),
            'state_dict',
            'ema_state_dict',
        ),
        (
            {**under('student_backbone.', OTHER), **under('teacher_backbone.'), 'prototypes.weight': torch.ones(2)},
            'teacher_backbone',
            'student_backbone',
        ),
        (
            dict(encoder=under('module.', OTHER), target_encoder=under('module.'), predictor=dict(x=torch.ones(1))),
            'target_encoder.module',
            'encoder.module',
        ),
        (
            {**under('module.base_encoder.'), **under('module.momentum_encoder.', OTHER)},
            'module.base_encoder',
            'momentum_encoder.',
        ),
    ],
    ids=['DINO', 'DINOv2', 'averaged', 'MMEngine', 'lightly', 'I-JEPA', 'MoCo v3'],
)
def test_of_several_networks_the_evaluated_one_is_taken_and_said(content, taken, prefix, tmp_path, capsys):
    file = open_encoder(content)
    assert is_state(file.encoder) and taken in file.notes[0] and prefix.strip('.').split('.')[0] in file.notes[0]
    torch.save(content, tmp_path / 'file.pth')
    path, images = str(tmp_path / 'file.pth'), torch.randn(2, 3, 32, 32)
    mine, theirs = (model.forward_features(images) for model in (vit(), vit(1)))
    for options, expected in ((dict(), mine), (dict(prefix=prefix), theirs), (dict(part=prefix), theirs)):
        model = mmmim.load_encoder(path, num_heads=3, **options)
        torch.testing.assert_close(model.forward_features(images), expected, **FLOAT32)
        ours = MaskedViT(SIZES, 32, 8, init_cfg=dict(type='Pretrained', checkpoint=path, **options))
        ours.init_weights()
        torch.testing.assert_close(ours.eval()(images), expected, **FLOAT32)
    said = convert(path, str(tmp_path / 'one.pth'), 'timm', prefix=prefix)
    assert (
        is_state(torch.load(tmp_path / 'one.pth'), OTHER)
        and 'several networks' not in said
        and re.search('left out: (nothing|steps)', said)
    )
    assert 'several networks' in convert(path, str(tmp_path / 'two.pth'), 'timm')
    with pytest.raises(EncoderMismatchError, match="no encoder under 'nothing.'.*The prefix may be one of '"):
        open_encoder(content, 'nothing')


def test_without_a_known_choice_it_is_asked_for():
    content = {**under('left.'), **under('right.', OTHER)}
    with pytest.raises(EncoderMismatchError, match="several networks.*'left', 'right'.*prefix="):
        open_encoder(content)
    assert is_state(open_encoder(content, 'right').encoder, OTHER)


def test_the_prefix_of_our_configs_leaves_the_choice_to_the_file():
    for prefix in (None, '', 'backbone', 'backbone.'):
        assert is_state(open_encoder(dict(student=under('x.', OTHER), teacher=STATE), prefix).encoder)


@pytest.mark.parametrize(
    'content, said',
    [
        ({'h.0.attn.c_attn.weight': torch.ones(1), 'wte.weight': torch.ones(1)}, 'a language model'),
        ({'model.embed_tokens.weight': torch.ones(1)}, 'a language model'),
        (dict(state_dict=timm.create_model('resnet18').state_dict()), 'a ResNet'),
        ({**under('', STATE), 'layers.0.blocks.0.attn.logit_scale': torch.ones(1)}, 'a Swin V2'),
        ({'_fsdp_wrapped_module._flat_param': torch.ones(9)}, 'flat shards of FSDP'),
        ({'_fsdp_wrapped_module.blocks.0.flat_param': torch.ones(9)}, 'flat shards of FSDP'),
        (dict(model={**STATE, 'channel_embed': torch.ones(1), 'decoder_embed.bias': torch.ones(1)}), 'SatMAE'),
        (dict(model={'patch_embed.0.proj.weight': torch.ones(1), 'blocks.0.norm1.bias': torch.ones(1)}), 'SatMAE'),
        ({**STATE, 'blocks.0.attn.rel_pos_h': torch.ones(1)}, 'decomposed relative positions'),
        ({**STATE, 'rope.periods': torch.ones(1)}, 'rotary positions'),
        ({**STATE, 'blocks.0.mlp.w12.weight': torch.ones(1)}, 'a gated MLP'),
        (dict(a=1, b='text'), 'holds no named tensors, but a, b'),
        ({}, 'holds no named tensors'),
        ([1, 2], 'is a list'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_another_kind_of_file_is_named_before_anything_is_built(content, said, tmp_path):
    torch.save(content, tmp_path / 'file.pth')
    for read_it in (open_encoder, mmmim.load_encoder, lambda path: convert(path, f'{path}.out', 'mae')):
        with pytest.raises(EncoderMismatchError) as error:
            read_it(str(tmp_path / 'file.pth'))
        assert said in str(error.value) and 'file.pth' in str(error.value) and '\n' not in str(error.value)


def test_colliding_names_are_an_error():
    with pytest.raises(EncoderMismatchError, match='Two parameters of the checkpoint are called norm.bias'):
        open_encoder({**STATE, '_orig_mod.norm.bias': torch.ones(48)})


def test_what_stands_beside_the_encoder_tells_nothing_of_it():
    beside = {'head.mlp.gate_proj.weight': torch.ones(1), 'target.model.rope.periods': torch.ones(1)}
    assert is_state(open_encoder({**under('backbone.'), **beside}).encoder)
    for place in ('', 'backbone.', 'encoder.'):
        shapes = under(place, {**STATE, 'blocks.0.mlp.fc1.weight': torch.ones(384, 48)})
        with pytest.raises(EncoderMismatchError, match='a gated MLP'):
            open_encoder({**shapes, 'decoder.0.bias': torch.ones(1)} if place == 'encoder.' else shapes)


def test_a_teacher_goes_before_a_student_that_lies_deeper():
    assert is_state(open_encoder(dict(model=dict(student=under('', OTHER)), teacher=STATE)).encoder)


@pytest.mark.parametrize('beside', ['projector.0.weight', 'head.weight', 'decoder.blocks.0.x', 'predictor.bias'])
def test_heads_below_a_wrapper_of_both_are_known(beside):
    """As in the files of MoCo v3 and of DistributedDataParallel."""
    file = open_encoder(dict(state_dict={**under('module.encoder.'), f'module.{beside}': torch.ones(1)}))
    assert is_state(file.encoder) and set(file.others) == {beside}
    file.check()


def test_parts_of_an_encoder_in_two_dictionaries_are_an_error():
    first = {name: value for name, value in STATE.items() if 'blocks.1.' not in name}
    second = {name: value for name, value in STATE.items() if 'blocks.1.' in name}
    with pytest.raises(EncoderMismatchError, match='parts of one in other dictionaries: part2.blocks.1'):
        open_encoder(dict(part1=first, part2=second))
    with pytest.raises(EncoderMismatchError, match='Two dictionaries of the checkpoint are called a.b'):
        open_encoder({'a': {'b': STATE}, 'a.b': OTHER})
    arrays = {name: value.numpy() if 'blocks.1.' in name else value for name, value in STATE.items()}
    assert is_state(open_encoder(arrays).encoder)
    with pytest.raises(EncoderMismatchError, match='momentum copy: 0. They'):
        open_encoder({**STATE, 0: torch.ones(2)}).check()


@pytest.mark.parametrize(
    'other',
    [
        dict(optimizer={f'state.{name}.exp_avg': value for name, value in STATE.items()}),
        dict(optimizer={name: dict(exp_avg=value) for name, value in STATE.items()}),
        dict(lora={'blocks.0.attn.lora_A': torch.ones(2)}),
        dict(grads={'blocks.1.norm1.weight': torch.ones(48)}),
        dict(decoder={'blocks.7.norm1.weight': torch.ones(8), 'pos_embed': torch.ones(1, 2, 8)}),
        dict(predictor={'blocks.7.norm1.weight': torch.ones(8)}),
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_dictionaries_that_are_no_part_of_it(other):
    assert is_state(open_encoder(dict(model=STATE, **other)).encoder)


def test_two_names_of_one_argument():
    with pytest.raises(ValueError, match='give one of them'):
        open_encoder(dict(student=STATE, teacher=OTHER), prefix='student', part='teacher')


@pytest.mark.parametrize(
    'change, said',
    [
        ({'blocks.200000.norm1.weight': torch.ones(48)}, 'of 3 blocks 2 are missing; there is 200000'),
        ({'blocks.extra.w': torch.ones(48)}, 'of 3 blocks 2 are missing; there is extra'),
        ({'cls_token': torch.ones(48)}, r'cls_token is \[48\]'),
        ({'pos_embed': torch.ones(1, 17, 4, 48)}, 'pos_embed is'),
        ({'norm.weight': torch.ones(48, dtype=torch.int64)}, 'norm.weight of its encoder are torch.int64'),
        ({'norm.weight': torch.ones(48, dtype=torch.complex64)}, 'torch.complex64'),
    ],
)
def test_an_encoder_that_is_none(change, said, tmp_path):
    torch.save({**STATE, **change}, tmp_path / 'file.pth')
    for read_it in (mmmim.load_encoder, lambda path: fill_encoder(MaskedViT(SIZES, 32, 8), path)):
        with pytest.raises(EncoderMismatchError, match=said):
            read_it(str(tmp_path / 'file.pth'))


# ------------------------------------------------------------------------------------------------ nothing is dropped


def test_an_unknown_tensor_beside_the_encoder_is_an_error(tmp_path):
    module = MaskedViT(SIZES, 32, 8)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    content = {**STATE, 'adapter.down.weight': torch.ones(2, 48)}
    for allowed in (False, [], ['adapt_other']):
        with pytest.raises(EncoderMismatchError, match='adapter.down.weight.*allow_unused=True'):
            fill_encoder(module, content, allow_unused=allowed)
    assert is_state(module.state_dict(), before)
    with pytest.raises(EncoderMismatchError, match='adapter.down.weight'):  # the prefix names the network, not that
        fill_encoder(module, dict(model=content), prefix='model')
    for allowed in (True, 'adapter.', ['adapter.']):
        report = fill_encoder(MaskedViT(SIZES, 32, 8), content, allow_unused=allowed)
        assert report.unused == dict(adapter=1)
    torch.save(content, tmp_path / 'file.pth')
    with pytest.raises(EncoderMismatchError, match='adapter.down.weight'):
        mmmim.load_encoder(str(tmp_path / 'file.pth'), num_heads=3)
    mmmim.load_encoder(str(tmp_path / 'file.pth'), num_heads=3, allow_unused=True)
    many = {f'part{chr(97 + i)}.weight': torch.ones(1) for i in range(20)}
    with pytest.raises(EncoderMismatchError, match='parta.weight.*and 8 more'):
        open_encoder({**STATE, **many}).check()
    with pytest.raises(EncoderMismatchError, match='1 names were not understood: adapter.down.weight'):
        convert(str(tmp_path / 'file.pth'), str(tmp_path / 'out.pth'), 'mmmim')
    assert not (tmp_path / 'out.pth').exists()
    assert 'left out: adapter' in convert(str(tmp_path / 'file.pth'), str(tmp_path / 'out.pth'), 'mmmim', True)
    assert 'adapter.down.weight' not in torch.load(tmp_path / 'out.pth')['state_dict']


def test_parts_that_the_config_in_the_file_names_are_known():
    text = "model = dict(type='Own', backbone=dict(type='MaskedViT'), memory=dict(size=3))"
    content = dict(state_dict={**under('backbone.'), 'memory.bank': torch.ones(3)}, meta=dict(cfg=text))
    assert fill_encoder(MaskedViT(SIZES, 32, 8), content).unused == dict(memory=1)


@pytest.mark.parametrize(
    'name',
    'head.weight lm_head.bias fc_norm.weight decoder_pred.weight neck.mask_token projector.0.weight predictor.bias '
    'target_backbone.norm.bias momentum_encoder.x generator.y decode_head.conv.weight roi_head.z queue center '
    'dino_loss.center pooler.dense.bias classifier.weight'.split(),
)
def test_decoders_heads_projectors_and_copies_are_known(name):
    fill_encoder(MaskedViT(SIZES, 32, 8), {**under('backbone.'), name: torch.ones(1)})


# ------------------------------------------------------------------------------------------------------ once in a load


def test_each_step_is_entered_once(tmp_path, monkeypatch):
    counts = {}

    def count(module, name):
        function = getattr(module, name)

        def counted(*args, **kwargs):
            counts[name] = counts.get(name, 0) + 1
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)

    count(hub, 'load_file')
    count(read, '_load_torch')
    count(peel, 'named_tensors')
    count(peel, 'recognise')
    count(fit, 'find_grid')
    count(fit, 'resize_pos_embed')
    content = dict(state_dict={**under('backbone.'), 'neck.mask_token': torch.ones(1, 1, 8)}, meta=dict(iter=1))
    torch.save(content, tmp_path / 'epoch_1.pth')
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'epoch_1.pth'), prefix='backbone.')
    DenseViT(SIZES, 64, 8, out_indices=(0, 1), init_cfg=cfg).init_weights()
    assert counts == dict.fromkeys(
        ('load_file', '_load_torch', 'named_tensors', 'recognise', 'find_grid', 'resize_pos_embed'), 1
    )


def test_names_are_translated_below_wrappers_too():
    assert set(to_mmmim(dict(model=under('module.')))) == {f'backbone.{name}' for name in STATE}
