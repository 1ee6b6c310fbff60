"""Keys that follow from others: a stated one is an error that names the governing key and the value to give it."""

import re

import pytest
from harness import ROOT, make_config, save_config
from mmengine.config import Config

from mmmim.config.check_values import check_values
from mmmim.config.derived import check_given
from mmmim.config.load import load_config
from mmmim.config.schedule import iterations, set_batch_and_lr, set_schedule
from mmmim.config.segmentation import settle_segmentor
from mmmim.engine.launch import build_runner

MAE = str(ROOT / 'configs/mae/vit-b_800e.py')


def derive(cfg, processes=1):
    return [*set_batch_and_lr(cfg, processes), *set_schedule(cfg)]


def refusal(processes=1, **options):
    """The message of MAE's config with options, and nothing where it is accepted."""
    try:
        derive(load_config(MAE, options), processes)
    except ValueError as error:
        return str(error)
    return ''


# MAE's: 4096 images a step, at most 256 in a process, base_lr 1.5e-4, 800 epochs, 40 of them warm-up
@pytest.mark.parametrize(
    'options, processes, instead',
    [
        ({'train_dataloader.batch_size': 8}, 1, 'total_batch_size=8 '),
        ({'train_dataloader.batch_size': 128}, 16, 'max_batch_per_device=128 for 4096'),
        ({'train_cfg.batches_per_step': 4}, 8, 'max_batch_per_device=128 '),
        ({'optim_wrapper.accumulative_counts': 4}, 8, 'total_batch_size=16384 '),
        ({'optim_wrapper.optimizer.lr': 0.5}, 8, 'base_lr=0.03125 .*lr_base_batch=None and base_lr=0.5'),
        ({'optim_wrapper.optimizer.lr': 0.0}, 8, 'base_lr=0 '),
        ({'train_cfg.max_epochs': 2}, 8, 'max_epochs=2,'),
        ({'param_scheduler.0.end': 10}, 8, 'warmup_epochs=10,'),
        ({'param_scheduler.1.begin': 10}, 8, 'warmup_epochs=10,'),
        ({'param_scheduler.1.end': 400}, 8, 'max_epochs=400,'),
        ({'param_scheduler.1.T_max': 360}, 8, 'max_epochs=400,'),
        ({'train_dataloader.sampler.round_to': 64}, 8, 'total_batch_size=64'),
    ],
    ids=str,
)
def test_another_value_than_what_follows_is_refused(options, processes, instead):
    message = refusal(processes, **options)
    (key,) = options
    assert message.startswith(f'{key}={options[key]!r}: ') and re.search(f'Set .*{instead}', message), message
    assert f'or leave {key} out' in message


def test_what_the_message_names_gives_the_value():
    cfg = load_config(MAE, {'base_lr': 0.03125, 'total_batch_size': 4096})
    derive(cfg, 8)
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    cfg = load_config(MAE, {'max_batch_per_device': 128})
    derive(cfg, 8)
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.batches_per_step) == (128, 4)
    cfg = load_config(MAE, {'max_epochs': 400})
    derive(cfg, 8)
    assert cfg.param_scheduler[1].T_max == 360


def test_the_value_that_follows_is_accepted():
    cfg = load_config(MAE)
    followed = {one.key: one.value for one in derive(cfg, 8)}
    assert len(followed) == 9 and followed['optim_wrapper.optimizer.lr'] == pytest.approx(2.4e-3)
    assert refusal(8, **followed) == ''
    assert 'train_dataloader.batch_size' in refusal(32, **followed)


def test_all_that_is_wrong_is_said_at_once():
    message = refusal(8, **{'train_dataloader.batch_size': 8, 'train_cfg.max_epochs': 2})
    assert 'train_dataloader.batch_size=8' in message
    assert 'train_cfg.max_epochs=2' in refusal(8, **{'train_cfg.max_epochs': 2})


def test_each_optimizer_of_two_is_checked_by_its_own_rate():
    players = dict(
        generator=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        discriminator=dict(base_lr=4e-3, optimizer=dict(type='AdamW', lr=8e-3)),
    )
    cfg = dict(total_batch_size=512, base_lr=1e-3, train_dataloader=dict(sampler=dict(type='EpochSampler')))
    with pytest.raises(
        ValueError, match=r'^optim_wrapper\.generator\.optimizer\.lr=0\.001: .*base_lr=0\.0005 '
    ) as error:
        set_batch_and_lr(Config(dict(cfg, optim_wrapper=players)), 1)
    assert 'discriminator' not in str(error.value)
    players['discriminator']['optimizer']['lr'] = 1.0
    with pytest.raises(ValueError, match=r'optim_wrapper\.discriminator\.base_lr=0\.5 '):
        set_batch_and_lr(Config(dict(cfg, optim_wrapper=players)), 1)


def _child(tmp_path, text, base=MAE):
    path = tmp_path / 'child.py'
    path.write_text(f'_base_ = {base!r}\n{text}\n')
    return load_config(str(path))


@pytest.mark.parametrize(
    'text, words',
    [
        ('train_dataloader = dict(batch_size=8)', 'train_dataloader.batch_size=8'),
        ("param_scheduler = [dict(type='CosineAnnealingLR', T_max=100)]", 'has one entry and no warm-up before it'),
        (
            "param_scheduler = [dict(type='LinearLR', by_epoch=False, end=500), dict(type='CosineAnnealingLR')]",
            r'param_scheduler\.0\.by_epoch=False counts iterations',
        ),
        (
            "param_scheduler = [dict(type='LinearLR', end=40), dict(type='ConstantLR', begin=40, end=100), "
            "dict(type='PolyLR', begin=100, end=800)]",
            r'param_scheduler\.1\.end=100: .*warmup_epochs=None',
        ),
        ('train_cfg = dict(_delete_=True, by_epoch=False, max_iters=100)', r'train_cfg\.by_epoch=False'),
    ],
    ids=str,
)
def test_a_child_config_is_told_too(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        derive(_child(tmp_path, text))


def test_schedulers_of_ones_own_are_left_alone_where_the_warmup_is_none(tmp_path):
    own = [dict(type='LinearLR', end=40), dict(type='ConstantLR', begin=40, end=100), dict(type='PolyLR', begin=100)]
    cfg = _child(tmp_path, f'warmup_epochs = None\nparam_scheduler = {own}')
    derive(cfg)
    assert [dict(entry) for entry in cfg.param_scheduler] == own and cfg.train_cfg.max_epochs == 800
    words = 'state param_scheduler.0.end, param_scheduler.1.begin; or set warmup_epochs=0'
    with pytest.raises(ValueError, match=words):
        derive(_child(tmp_path, 'warmup_epochs = None'))


def test_and_what_the_message_tells_them_to_state_is_enough():
    lengths = {'param_scheduler.0.end': 40}
    with pytest.raises(ValueError, match='state param_scheduler.1.begin; '):
        derive(load_config(MAE, dict(warmup_epochs=None, **lengths)))  # the cosine would begin at epoch 0
    cfg = load_config(MAE, {'warmup_epochs': None, **lengths, 'param_scheduler.1.begin': 40})
    derive(cfg)
    check_values(cfg)
    assert (cfg.param_scheduler[0].end, cfg.param_scheduler[1].begin) == (40, 40)


def test_a_rate_that_does_not_scale_can_be_set_where_the_config_has_no_such_key(tmp_path):
    cfg = load_config(MAE, dict(lr_base_batch=None, base_lr=0.5))
    derive(cfg, 8)
    check_values(cfg)
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    base = tmp_path / 'theirs.py'
    base.write_text(OTHER)
    with pytest.raises(KeyError, match='no `lr_base_batch`'):  # where it would do nothing
        load_config(str(base), dict(lr_base_batch=None))
    with pytest.raises(KeyError, match='no `base_lr`'):
        load_config(str(base), dict(base_lr=1))


def test_a_length_in_iterations_that_the_message_names_can_be_set(tmp_path):
    cfg = _child(tmp_path, 'max_epochs = None\ntrain_cfg = dict(_delete_=True, by_epoch=False, max_iters=100)')
    assert not any('epoch' in one.key for one in derive(cfg))
    cfg.total_batch_size = None
    check_values(cfg)


def test_a_segmentor_is_tested_without_the_parts_of_training():
    cfg = load_config(str(ROOT / 'configs/downstream/segmentation/vit-tiny_folder_upernet.py'))
    cfg.pop('optim_wrapper')
    assert [one.value for one in iterations(cfg) if one.key == 'train_cfg.max_iters'] == [1000]
    cfg.pop('train_cfg')
    assert list(iterations(cfg)) == []
    settle_segmentor(cfg)
    assert cfg.model.backbone.img_size == (96, 96)


def test_no_length_is_named_that_cannot_be_set():
    assert 'Set max_epochs, or' in refusal(8, **{'param_scheduler.1.T_max': -50})
    message = refusal(1, **{'optim_wrapper.accumulative_counts': 2})
    assert 'total_batch_size=1024 for a step of as many images' in message


def test_schedules_of_each_optimizer_and_a_single_one_follow(tmp_path):
    two = "[dict(type='LinearLR'), dict(type='CosineAnnealingLR')]"
    cfg = _child(tmp_path, f'param_scheduler = dict(_delete_=True, one={two}, two={two})')
    derive(cfg)
    assert cfg.param_scheduler.two[1].T_max == 760 and cfg.param_scheduler.one[0].end == 40
    cfg = _child(tmp_path, "warmup_epochs = 0\nparam_scheduler = dict(_delete_=True, type='CosineAnnealingLR')")
    derive(cfg)
    assert (cfg.param_scheduler.end, cfg.param_scheduler.T_max) == (800, 800)


OTHER = """
train_dataloader = dict(batch_size=32, sampler=dict(type='DefaultSampler'))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
param_scheduler = [dict(type='LinearLR', end=5), dict(type='CosineAnnealingLR', T_max=95, begin=5, end=100)]
train_cfg = dict(by_epoch=True, max_epochs=100)
"""


def test_a_governing_key_over_values_of_another_projects_base_is_what_is_meant(tmp_path):
    base = tmp_path / 'theirs.py'
    base.write_text(OTHER)
    keys = 'total_batch_size = 64\nbase_lr = 1e-3\nmax_epochs = 50\nwarmup_epochs = 2'
    middle = tmp_path / 'middle.py'
    middle.write_text(f"_base_ = './theirs.py'\n{keys}")
    for path in (base, middle):
        cfg = _child(tmp_path, keys, str(path))
        derive(cfg, 2)
        assert cfg.train_dataloader.batch_size == 32 and cfg.optim_wrapper.optimizer.lr == 2.5e-4
        assert cfg.train_cfg.max_epochs == 50 and cfg.param_scheduler[1].T_max == 48
    with pytest.raises(ValueError, match=r'^optim_wrapper\.optimizer\.lr=0\.2: '):  # beside the key
        derive(_child(tmp_path, f'{keys}\noptim_wrapper = dict(optimizer=dict(lr=0.2))', str(base)))


def test_without_governing_keys_a_config_keeps_its_own(tmp_path):
    base = tmp_path / 'theirs.py'
    base.write_text(OTHER)
    cfg = load_config(str(base), {'optim_wrapper.optimizer.lr': 0.5, 'train_cfg.max_epochs': 2})
    before = cfg.to_dict()
    assert derive(cfg, 2) == [] and cfg.to_dict() == before and before['train_cfg']['max_epochs'] == 2


def test_an_option_below_a_governing_key_is_told_its_name():
    cfg = Config(dict(num_classes=3, crop_size=64, model=dict(head=dict(num_classes=3), backbone=dict(img_size=64))))
    for key, value, name in (
        ('model.head.num_classes', 5, 'num_classes'),
        ('model.backbone.img_size', 32, 'crop_size'),
    ):
        object.__setattr__(cfg, 'given', {key: value})
        with pytest.raises(ValueError, match=f'{key}={value} has no effect: .* follows from {name}, which governs it'):
            check_given(cfg)
    object.__setattr__(cfg, 'given', {'model.head.num_classes': 3, 'crop_size': 64})
    check_given(cfg)


def test_an_option_that_something_else_overwrites_is_refused(tmp_path, image_root):
    """Where no rule of this file is: whatever a run makes of it, it is seen that the option had no effect."""
    path = save_config(make_config(tmp_path / 'run', image_root), tmp_path / 'config.py')
    option = 'train_dataloader.worker_init_fn.seed'
    cfg = load_config(str(path), {option: 7, 'train_dataloader.worker_init_fn.type': 'mmmim.start_worker'})
    with pytest.raises(ValueError, match=f'{option}=7 has no effect: 0 follows'):
        build_runner(cfg)
