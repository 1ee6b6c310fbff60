"""Layer-wise learning rates: every parameter against the formula, in a classifier and inside any other model."""

import pytest
import torch
from harness import ROOT
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as MMPRETRAIN
from torch import nn

from mmmim.registry import MODELS

DEPTH, LR, DECAY = 3, 0.8, 0.5
BACKBONE = dict(
    type='mmmim.MaskedViT',
    arch=dict(embed_dim=16, depth=DEPTH, num_heads=2),
    img_size=8,
    patch_size=4,
    final_norm=False,
)


def classifier(**backbone):
    cfg = dict(
        type='ImageClassifier',
        backbone=dict(BACKBONE, **backbone),
        neck=dict(type='mmmim.PoolTokens', in_dim=16),
        head=dict(type='LinearClsHead', in_channels=16, num_classes=3),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MMPRETRAIN.build(cfg)


def wrapper(model, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            type='mmmim.AutocastOptimWrapper',
            dtype='float32',
            constructor='mmmim.LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=LR, weight_decay=0.05),
            paramwise_cfg=dict(
                layer_decay_rate=DECAY,
                norm_decay_mult=0.0,
                bias_decay_mult=0.0,
                flat_decay_mult=0.0,
                custom_keys={'.cls_token': dict(decay_mult=0.0)},
                **paramwise,
            ),
        ),
    )


def settings(model):
    """``{name: (rate, weight decay)}`` of every parameter that is trained."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in wrapper(model).optimizer.param_groups
        for p in group['params']
    }


def expected_rate(name):
    """BEiT's and MAE's rule, written from the paper: the head has the full rate, each layer below it less."""
    if name.startswith('backbone.blocks.'):
        steps = DEPTH - int(name.split('.')[2])
    elif name.startswith('backbone.') and 'norm' not in name:
        steps = DEPTH + 1
    else:
        steps = 0
    return LR * DECAY**steps


def test_every_parameter_of_a_classifier():
    model = classifier()
    found = settings(model)
    assert set(found) == {name for name, p in model.named_parameters() if p.requires_grad}
    assert 'backbone.pos_embed' not in found  # fixed sine-cosine positions
    for name, (rate, decay) in found.items():
        parameter = model.get_parameter(name)
        assert rate == pytest.approx(expected_rate(name)), name
        assert decay == (0.0 if parameter.ndim == 1 or name.endswith('cls_token') else 0.05), name
    assert found['backbone.cls_token'][0] == found['backbone.patch_embed.proj.weight'][0] == LR * DECAY**4
    assert found['head.fc.weight'][0] == found['neck.norm.weight'][0] == LR


@pytest.mark.parametrize('schedule', ['cls_finetune_adamw', 'seg_adamw', 'det_adamw_cosine', 'det_adamw_step'])
def test_tokens_beside_the_patches_do_not_decay_in_the_base_schedules(schedule):
    cfg = Config.fromfile(ROOT / f'configs/_base_/schedules/{schedule}.py').optim_wrapper
    cfg.optimizer.lr = LR
    model = classifier(num_class_tokens=2, num_register_tokens=2)
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    for name in ('cls_token', 'reg_token', 'patch_embed.proj.weight'):
        parameter = model.backbone.get_parameter(name)
        (group,) = [group for group in groups if any(p is parameter for p in group['params'])]
        assert (group['weight_decay'] == 0) == name.endswith('token')
        assert group['lr'] == pytest.approx(LR * cfg.paramwise_cfg.layer_decay_rate ** (DEPTH + 1))


def test_a_final_norm_belongs_to_the_last_layer():
    assert settings(classifier(final_norm=True))['backbone.norm.weight'][0] == LR


def test_parameters_share_groups_and_the_full_rate_comes_first():
    optimizer = wrapper(classifier()).optimizer
    groups = optimizer.param_groups
    assert len(groups) == 2 * (DEPTH + 2)  # with and without weight decay, for each layer
    assert groups[0]['lr'] == LR and groups[-1]['lr'] == pytest.approx(LR * DECAY ** (DEPTH + 1))


class Segmentor(BaseModel):
    """A model that knows no layers, as those of mmseg and mmdet."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.decode_head = backbone, nn.Conv2d(16, 2, 1)

    def forward(self, inputs):
        return inputs


def test_inside_a_model_that_knows_no_layers():
    found = settings(Segmentor(MODELS.build(BACKBONE)))
    assert {name: rate for name, (rate, _) in found.items()} == pytest.approx(
        {name: expected_rate(name) for name in found}
    )
    assert found['decode_head.weight'] == (LR, 0.05)


def test_a_backbone_without_layers_is_an_error():
    with pytest.raises(TypeError, match='get_layer_depth.*Conv2d'):
        wrapper(Segmentor(nn.Conv2d(3, 16, 1)))


def test_frozen_parameters_are_left_out():
    found = settings(classifier(trainable_blocks=0.5))
    assert {name for name in found if name.startswith('backbone.')} == {
        f'backbone.blocks.2.{part}'
        for part in ('norm2.weight', 'norm2.bias', 'mlp.fc1.weight', 'mlp.fc1.bias', 'mlp.fc2.weight', 'mlp.fc2.bias')
    }


def test_backbone_and_head_may_have_rates_of_their_own():
    model = classifier()
    names = {id(p): name for name, p in model.named_parameters()}
    groups = wrapper(model, backbone_lr_mult=0.5, head_lr_mult=2.0).optimizer.param_groups
    for name, rate in {names[id(p)]: group['lr'] for group in groups for p in group['params']}.items():
        assert rate == pytest.approx(expected_rate(name) * (0.5 if name.startswith('backbone.') else 2.0)), name
    assert groups[0]['lr'] == 2 * LR  # what logs show
    with pytest.raises(ValueError, match='head_lr_mult=0 must be above 0'):
        wrapper(model, head_lr_mult=0)


def test_a_step_moves_early_layers_less():
    """With plain SGD and the same gradient everywhere, a step is the rate."""
    model = classifier()
    optim = build_optim_wrapper(
        model,
        dict(
            type='mmmim.AutocastOptimWrapper',
            dtype='float32',
            constructor='mmmim.LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=LR, weight_decay=0.0),
            paramwise_cfg=dict(layer_decay_rate=DECAY),
        ),
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.ones_like(p) if p.requires_grad else None
    optim.step()
    for name, p in model.named_parameters():
        moved = (before[name] - p.detach()).mean().item()
        assert moved == pytest.approx(expected_rate(name) if p.requires_grad else 0, rel=1e-4), name


def pretraining():
    mae = dict(
        type='MAE',
        backbone=dict(BACKBONE, final_norm=True),
        neck=dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2),
        target=dict(type='PixelTarget'),
        head=dict(type='ReconstructionHead'),
    )
    return MODELS.build(mae)


def grouped(model, **paramwise):
    cfg = dict(
        type='mmmim.AutocastOptimWrapper',
        dtype='float32',
        constructor='mmmim.GroupedOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=LR, weight_decay=0.05),
        paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, **paramwise),
    )
    return build_optim_wrapper(model, cfg).optimizer.param_groups


def test_pretraining_that_goes_on_has_the_same_rates_without_mmpretrain():
    model = pretraining()
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {names[id(p)]: g['lr'] for g in grouped(model, layer_decay_rate=DECAY) for p in g['params']}
    assert {name for name, p in model.named_parameters() if p.requires_grad} <= set(rates)
    for name, rate in rates.items():
        assert rate == pytest.approx(expected_rate(name)), name
    assert len({group['lr'] for group in grouped(model)}) <= 1


@pytest.mark.parametrize('rate', [0.0, 1.5, -1])
def test_a_rate_of_decay_that_makes_no_sense_is_an_error(rate):
    with pytest.raises(ValueError, match='layer_decay_rate'):
        grouped(pretraining(), layer_decay_rate=rate)
