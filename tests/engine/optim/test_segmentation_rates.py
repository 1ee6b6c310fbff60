"""Learning rate and weight decay of every parameter of a segmentor, by the papers' rules."""

import copy
import re

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from seg_configs import config, shrunk

pytest.importorskip('mmseg')
from mmseg.registry import MODELS  # noqa: E402

from mmmim.config.prepare import set_up_scope  # noqa: E402


@pytest.fixture(autouse=True)
def scope(mmmim_scope):
    set_up_scope(config('vit-b_upernet_160k'))
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def rates(model, cfg):
    """``{name: (rate, weight decay)}`` of every parameter that is trained."""
    wrapper = copy.deepcopy(cfg.optim_wrapper)
    wrapper.pop('accumulative_counts', None)
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in build_optim_wrapper(model, wrapper).optimizer.param_groups
        for p in group['params']
    }


@pytest.mark.parametrize(
    'name', ['vit-b_upernet_160k', 'vit-l_upernet_160k', 'vit-b_linear_160k_crossmae', 'vit-tiny_scenes_upernet']
)
def test_rate_and_weight_decay_of_every_parameter(name):
    """The papers' rule, written here once more: head and neck have the full rate, each block below it less."""
    cfg = shrunk(name)
    model = MODELS.build(cfg.model)
    found = rates(model, cfg)
    depth = cfg.model.backbone.arch.depth
    lr, decay = cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.paramwise_cfg.layer_decay_rate
    assert set(found) == {key for key, p in model.named_parameters() if p.requires_grad}
    for key, (rate, weight_decay) in found.items():
        block = re.match(r'backbone\.blocks\.(\d+)\.', key)
        steps = (
            depth - int(block.group(1))
            if block
            else depth + 1
            if key.startswith(('backbone.patch_embed', 'backbone.cls_token'))
            else 0
        )
        assert rate == pytest.approx(lr * decay**steps), key
        bare = model.get_parameter(key).ndim == 1 or 'cls_token' in key or 'rel_pos' in key
        assert weight_decay == (0.0 if bare else 0.05), key
    assert any('rel_pos' in key for key in found)
    assert len({key.split('.')[0] for key in found}) == (2 if 'linear' in name else 4)


@pytest.mark.parametrize('kind, tables', [('shared', 1), ('separate', 12), ('decomposed', 24)])
def test_tables_of_relative_positions_do_not_decay(kind, tables):
    """Those of a block have its rate, shared ones that of the first layer."""
    cfg = shrunk('vit-b_upernet_160k', **{'model.backbone.relative_positions': kind})
    found = {key: value for key, value in rates(MODELS.build(cfg.model), cfg).items() if 'rel_pos' in key}
    assert len(found) == tables
    for key, (rate, weight_decay) in found.items():
        steps = 13 if kind == 'shared' else 12 - int(key.split('.')[2])
        assert rate == pytest.approx(1e-4 * 0.65**steps) and weight_decay == 0.0, key


def test_swin_has_one_rate_and_spares_norms_and_relative_positions():
    cfg = shrunk('swin-b_upernet_160k')
    found = rates(MODELS.build(cfg.model), cfg)
    assert {rate for rate, _ in found.values()} == {6e-5}
    spared = {key for key, (_, weight_decay) in found.items() if weight_decay == 0.0}
    assert spared == {key for key in found if 'norm' in key or 'relative_position_bias_table' in key}
    assert {weight_decay for _, weight_decay in found.values()} == {0.0, 0.01}
    assert sum('relative_position_bias_table' in key for key in spared) == 8
    assert any(key.startswith('backbone.out_norms') for key in spared)
