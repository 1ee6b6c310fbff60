"""Options for what most people set: each reaches the key that governs it, or says what to set instead."""

import argparse
import os
import re

import pytest
import torch
from harness import ROOT, make_config, save_config
from mmengine.config import Config

from mmmim import apis, cli
from mmmim.commands import embed, pretrain, train
from mmmim.commands import test as test_command
from mmmim.config.options import autocast, check_device, configured, scale_rate, settings

FOLDER = ROOT / 'configs'


def _configured(config, *options):
    return configured(train.parse_args([str(FOLDER / config), *options]))


def test_each_option_reaches_the_key_that_governs_it():
    cfg = _configured(
        'mae/vit-b_800e.py', '--lr', '1e-3', '--batch-size', '64', '--epochs', '7', '--seed', '3', '--workers', '0'
    )
    assert (cfg.base_lr, cfg.total_batch_size, cfg.max_epochs, cfg.randomness.seed) == (1e-3, 64, 7, 3)
    loader = cfg.train_dataloader
    assert (loader.num_workers, loader.persistent_workers, cfg.test_dataloader.num_workers) == (0, False, 0)


@pytest.mark.parametrize(
    'config, options, found',
    [
        ('downstream/detection/vit-b_mask-rcnn_3x_crossmae.py', ['--lr', '1e-5'], {'optim_wrapper.optimizer.lr': 1e-5}),
        ('downstream/detection/vit-tiny_folder_mask-rcnn.py', ['--image-size', '320'], {'image_size': 320}),
        ('downstream/segmentation/vit-tiny_folder_upernet.py', ['--image-size', '96'], {'crop_size': 96}),
        ('downstream/landmarks/vit-tiny_faces_upernet.py', ['--image-size', '64', '--epochs', '3'], {'image_size': 64}),
        ('downstream/classification/vit-b_finetune_100e.py', ['--lr', '1e-3'], {'base_lr': 1e-3}),
    ],
)
def test_and_in_downstream_tasks(config, options, found):
    args = train.parse_args([config, *options])
    result = settings(Config.fromfile(str(FOLDER / config)), vars(args))
    assert found.items() <= result.items()


@pytest.mark.parametrize(
    'config, options, words',
    [
        (
            'mae/vit-b_800e.py',
            ['--image-size', '96'],
            r'model\.backbone\.img_size=96 train_dataloader\..*pipeline\.1\.size=96',
        ),
        ('downstream/segmentation/vit-tiny_folder_upernet.py', ['--epochs', '3'], 'its length is max_iters, in steps'),
        ('mae/vit-b_800e.py', ['--workers', '-1'], '--workers -1: 0 '),
        (
            'mae/vit-b_800e.py',
            ['--epochs', '3', '--cfg-options', 'max_epochs=4'],
            'max_epochs=4 is what an option says',
        ),
        ('mae/vit-b_800e.py', ['--lr', '1', '--cfg-options', 'base_lr=2'], 'base_lr=2 is what an option says'),
    ],
)
def test_what_an_option_cannot_do_is_said(config, options, words):
    with pytest.raises(ValueError, match=words):
        _configured(config, *options)


def test_a_config_without_governing_keys_is_told_its_own():
    cfg = Config(dict(train_dataloader=dict(batch_size=4), train_cfg=dict(by_epoch=True, max_epochs=9)))
    with pytest.raises(ValueError, match='no total_batch_size: set train_dataloader.batch_size'):
        settings(cfg, dict(batch_size=8))
    with pytest.raises(ValueError, match='no max_epochs: set train_cfg.max_epochs'):
        settings(cfg, dict(epochs=8))
    cfg = Config(dict(train_dataloader=dict(batch_size=4)))
    with pytest.raises(ValueError, match='--lr 0.1: this config has no optim_wrapper'):
        settings(cfg, dict(lr=0.1))
    cfg = Config(
        dict(
            base_lr=1,
            total_batch_size=8,
            optim_wrapper=dict(a=dict(optimizer=dict(), base_lr=2), b=dict(optimizer=dict())),
        )
    )
    with pytest.raises(ValueError, match=r'set base_lr and optim_wrapper\.a\.base_lr'):
        settings(cfg, dict(lr=3))


# as RTMDet's and mmseg's configs have them: names that are our keys are variables there
THEIRS = dict(
    base_lr=0.004,
    max_epochs=300,
    crop_size=(512, 1024),
    model=dict(type='EncoderDecoder', data_preprocessor=dict(size=(512, 1024)), backbone=dict(type='ResNetV1c')),
    optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.004)),
    param_scheduler=[
        dict(type='LinearLR', by_epoch=False, begin=0, end=1000),
        dict(type='CosineAnnealingLR', by_epoch=True, begin=150, end=300, T_max=150),
    ],
    auto_scale_lr=dict(base_batch_size=16),
    train_cfg=dict(max_epochs=300),
    train_dataloader=dict(num_workers=2, prefetch_factor=4, dataset=dict(pipeline=[dict(crop_size=(512, 1024))])),
)


def test_variables_of_another_projects_config_are_not_taken_for_our_keys():
    cfg = Config(THEIRS)
    assert settings(cfg, dict(lr=1e-5)) == {'optim_wrapper.optimizer.lr': 1e-5}
    scale_rate(cfg)
    assert cfg.auto_scale_lr.enable
    with pytest.raises(ValueError, match=r'max_epochs=2 .*: param_scheduler\.1\.begin=150 .*end=300 .*\.1\.T_max=150$'):
        settings(cfg, dict(epochs=2))
    with pytest.raises(ValueError, match=r'stated by its parts.*pipeline\.0\.crop_size=96'):
        settings(cfg, dict(image_size=96))
    cfg.param_scheduler.pop()
    assert settings(cfg, dict(epochs=2)) == dict(max_epochs=2)


def test_without_workers_nothing_is_fetched_ahead():
    found = settings(Config(THEIRS), dict(workers=0))
    assert found == {'train_dataloader.num_workers': 0, 'train_dataloader.prefetch_factor': None}


@pytest.mark.parametrize(
    'command, argv',
    [
        (train, 'c.py'),
        (test_command, 'c.py'),
        (pretrain, '--data a --out b'),
        (embed, '--model timm:x --data a --out b.npy'),
    ],
)
def test_an_option_that_is_read_before_the_parser_cannot_be_shortened(command, argv, capsys):
    with pytest.raises(SystemExit):
        command.main([*argv.split(), '--dev', 'cpu'])
    assert re.search('--dev (cpu|is neither)', capsys.readouterr().err)


@pytest.mark.parametrize(
    'argv, before, after',
    [
        (['--device', 'cpu'], None, ''),
        (['--device=cpu'], '0,1', ''),
        (['--device', 'cuda:1'], None, '1'),
        (['--device', 'cuda:1'], '4,6', '6'),
        (['--device', 'cuda:2'], '4,6', ''),  # there is none: told by check_device
        (['--device', 'cuda'], '4,6', '4,6'),
        (['--data', 'x'], None, None),
    ],
)
def test_the_device_is_chosen_before_torch_looks(monkeypatch, argv, before, after):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', 'unset')  # to be restored
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    if before is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', before)
    cli.choose_device(argv)
    assert os.environ.get('CUDA_VISIBLE_DEVICES') == after


@pytest.mark.parametrize('command, after', [('train', '1'), ('pretrain', '1'), ('embed', '1'), ('compare', None)])
def test_commands_that_give_their_device_to_torch_themselves_see_all(monkeypatch, command, after):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', 'unset')  # to be restored
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    monkeypatch.setattr(cli, 'imported', lambda name: argparse.Namespace(main=lambda argv: None))
    cli.run(command, ['--device', 'cuda:1'])
    assert os.environ.get('CUDA_VISIBLE_DEVICES') == after


def test_a_device_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    check_device('cpu')
    for name, words in (
        ('cuda', 'sees no such GPU'),
        ('cuda:3', 'sees no such GPU'),
        ('gpu', 'there are cpu, cuda'),
        ('cpu:1', 'there'),
    ):
        with pytest.raises(ValueError, match=words):
            check_device(name)


def test_one_gpu_is_not_for_several_processes():
    with pytest.raises(ValueError, match='--device cuda:1 is for one process'):
        check_device('cuda:1', 'pytorch')


def test_amp_and_auto_scale_lr_are_understood_or_answered(capsys):
    cfg = Config.fromfile(str(FOLDER / 'mae/vit-b_800e.py'))
    before = cfg.to_dict()
    autocast(cfg)
    scale_rate(cfg)
    assert cfg.to_dict() == before
    said = capsys.readouterr().out
    assert 'autocast to bfloat16 is on without it' in said and 'base_lr * total_batch_size / 256' in said
    theirs = Config(dict(optim_wrapper=dict(optimizer=dict()), auto_scale_lr=dict(base_batch_size=16)))
    autocast(theirs)
    scale_rate(theirs)
    assert theirs.optim_wrapper.type == 'AmpOptimWrapper' and theirs.auto_scale_lr.enable
    theirs.pop('auto_scale_lr')
    with pytest.raises(ValueError, match='set auto_scale_lr.base_batch_size, or state total_batch_size and base_lr'):
        scale_rate(theirs)
    with pytest.raises(ValueError, match='dtype=float32 says otherwise'):
        autocast(Config(dict(optim_wrapper=dict(type='AutocastOptimWrapper', optimizer=dict(), dtype='float32'))))


def _asked(monkeypatch, *argv):
    """What mmmim pretrain asks for."""
    found = {}
    monkeypatch.setattr(apis, 'pretrain', lambda **options: found.update(options))
    pretrain.main(['--data', 'a', '--out', 'b', *argv])
    return {key: value for key, value in found.items() if value not in (None, False) and key not in ('data', 'out')}


def test_pretrain_has_them_too(monkeypatch):
    options = '--lr 1e-3 --batch-size 16 --seed 3 --workers 1 --epochs 2 --device cpu --resume auto --amp --stretch'
    assert _asked(monkeypatch, *options.split(), 'model.mask_ratio=0.5') == {
        'lr': 1e-3, 'batch_size': 16, 'seed': 3, 'workers': 1, 'epochs': 2, 'stretch': True, 'model.mask_ratio': 0.5,
    }  # fmt: skip
    assert _asked(monkeypatch, '--resume') == {}


def test_pretrain_says_where_another_checkpoint_is_resumed(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        _asked(monkeypatch, '--resume', 'epoch_3.pth')
    assert 'mmmim train b/pretrain.py --resume epoch_3.pth' in capsys.readouterr().err


def test_test_measures_with_them(tmp_path):
    loader = dict(batch_size=4, num_workers=2)
    path = save_config(make_config(tmp_path / 'run', tmp_path, test_dataloader=loader), tmp_path / 'config.py')
    args = test_command.parse_args([str(path), '--batch-size', '7', '--workers', '1', '--seed', '5'])
    cfg = configured(args, batch_size='test_dataloader.batch_size')
    assert (cfg.test_dataloader.batch_size, cfg.test_dataloader.num_workers, cfg.randomness.seed) == (7, 1, 5)
    assert cfg.total_batch_size == 16


def test_stretch_is_for_a_run_that_goes_on(tmp_path):
    args = argparse.Namespace(**vars(train.parse_args([str(FOLDER / 'mae/vit-b_800e.py'), '--stretch'])))
    with pytest.raises(SystemExit, match='--stretch is for a run that goes on'):
        train.train(args)
