"""Parts from configs: what is filled in, and what a wrong config is told."""

import pytest
import torch
from torch import nn

from mmmim.models.build import build_part
from mmmim.registry import MODELS


class Part(nn.Module):
    def __init__(self, grid_size, embed_dim=8):
        super().__init__()
        self.grid_size, self.embed_dim = grid_size, embed_dim


@pytest.fixture(autouse=True)
def registered():
    MODELS.register_module(name='PartForTests', module=Part)
    yield
    del MODELS._module_dict['PartForTests']


def test_open_sizes_are_filled_in():
    part = build_part(dict(type='PartForTests'), 'neck', grid_size=(2, 3), out_dim=5)
    assert part.grid_size == (2, 3) and part.embed_dim == 8


def test_what_the_config_says_wins():
    part = build_part(dict(type='PartForTests', grid_size=(1, 1)), 'neck', grid_size=(2, 3))
    assert part.grid_size == (1, 1)


def test_the_config_is_not_changed():
    cfg = dict(type='PartForTests')
    build_part(cfg, 'neck', grid_size=(2, 3))
    assert cfg == dict(type='PartForTests')


def test_a_class_may_stand_for_its_name():
    assert isinstance(build_part(dict(type=Part, grid_size=(1, 1)), 'neck'), Part)


@pytest.mark.parametrize('built', [None, nn.Linear(1, 1)])
def test_built_modules_and_none_pass_through(built):
    assert build_part(built, 'neck') is built


def test_an_unknown_key_names_the_part_and_the_nearest_key():
    with pytest.raises(TypeError, match=r'model.neck: Part has no key `embed_dims` \(did you mean `embed_dim`\?\)'):
        build_part(dict(type='PartForTests', embed_dims=3), 'neck', grid_size=(1, 1))


def test_an_unknown_key_far_from_all_lists_the_keys():
    with pytest.raises(TypeError, match='has no key `zzz`. Its keys: embed_dim, grid_size'):
        build_part(dict(type='PartForTests', zzz=3), 'neck')


def test_a_missing_type_names_the_part():
    with pytest.raises(KeyError, match='model.target needs a `type`'):
        build_part(dict(norm_pix=True), 'target')


@pytest.mark.parametrize('name', ['Nope', 'nolibrary.Nope'])
def test_an_unregistered_type_lists_the_known_ones(name):
    with pytest.raises(KeyError, match=f"model.head.type='{name}' is not registered.*ReconstructionHead"):
        build_part(dict(type=name), 'head')


@pytest.mark.parametrize(
    'part, key, nearest',
    [
        ('backbone', 'img_sizes', 'img_size'),
        ('neck', 'dept', 'depth'),
        ('target', 'norm_pixel', 'norm_pix'),
        ('head', 'loss_one', 'loss_on'),
    ],
)
def test_a_wrong_key_in_any_part_of_an_algorithm(part, key, nearest):
    cfg = dict(
        type='MAE',
        backbone=dict(type='MaskedViT', arch='tiny', img_size=32),
        neck=dict(type='MAEDecoder'),
        target=dict(type='PixelTarget'),
        head=dict(type='ReconstructionHead'),
    )
    cfg[part][key] = 1
    with torch.device('meta'), pytest.raises(TypeError, match=rf'model.{part}: .*`{key}` \(did you mean `{nearest}`'):
        MODELS.build(cfg)


def test_keys_of_classes_that_hand_on_what_they_do_not_know():
    from mmmim.models.algorithms import CMAE
    from mmmim.models.build import _keys_of

    assert {'momentum', 'mask_ratio', 'backbone'} <= _keys_of(CMAE) and 'kwargs' not in _keys_of(CMAE)

    class Theirs(torch.nn.Linear):
        def __init__(self, **kwargs):
            super().__init__(kwargs.pop('width'), 2, **kwargs)

    assert _keys_of(Theirs) is None
