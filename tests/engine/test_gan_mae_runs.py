"""Whole runs of GAN-MAE's schemes: two processes, a kill and a resume, what the log and the checkpoints hold."""

import signal

import pytest
import torch
from harness import (
    largest_difference,
    load_weights,
    make_config,
    near,
    read_curve,
    save_config,
    train,
    train_here,
)
from mmengine.registry import DefaultScope

from mmmim.checkpoint.encoder import EncoderMismatchError
from mmmim.engine.launch import build_runner

pytestmark = pytest.mark.runs

# the adversarial scheme with two optimizers is among the methods that all runs are tested with
SCHEMES = {
    'two-stage': {'model.scheme': 'two_stage', 'optim_wrapper.optimizers': 1},
    'combined': {'model.scheme': 'combined', 'model.adv_ramp': 6},
    'adversarial-one-optimizer': {
        'optim_wrapper.optimizers': 1,
        'model.sharing': 'separate',
        'model.image_head': dict(type='ImageDiscriminationHead'),
    },
    'epochs': {'model.alternate': 'epoch'},
}


def config_of(folder, image_root, name, epochs=2, **overrides):
    cfg = make_config(
        folder / 'run',
        image_root,
        'gan_mae',
        epochs=epochs,
        **{
            'model.backbone.drop_path_rate': 0.0,
            'default_hooks.export_encoder': None,
            'default_hooks.checkpoint.interval_iters': 3,
            'custom_hooks': [dict(type='DieHook')],
            **SCHEMES.get(name, {}),
            **overrides,
        },
    )
    return save_config(cfg, folder / 'config.py')


@pytest.mark.parametrize('name', SCHEMES)
def test_two_processes_equal_one_and_so_does_a_resumed_run(name, tmp_path, image_root):
    """One killed run in float64, and one in two processes, against one that nobody disturbed."""
    config = config_of(tmp_path, image_root, name)
    train(config, TEST_DTYPE='float64')
    weights, curve = load_weights(tmp_path / 'run'), read_curve(tmp_path / 'run')
    assert len(curve) == 8
    args = ['--work-dir', str(tmp_path / 'resumed'), '--resume']
    done = train(config, *args, check=False, TEST_DTYPE='float64', TEST_KILL_AT='5')
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    train(config, *args, TEST_DTYPE='float64')
    assert largest_difference(weights, load_weights(tmp_path / 'resumed')) == 0
    assert read_curve(tmp_path / 'resumed') == curve
    train(config, '--work-dir', str(tmp_path / 'two'), processes=2, TEST_DTYPE='float64')
    assert largest_difference(weights, load_weights(tmp_path / 'two')) < 1e-9
    for ours, theirs in zip(read_curve(tmp_path / 'two'), curve):
        for key in theirs:
            if not key.endswith('accuracy') or name != 'adversarial-one-optimizer':
                # where images stay unchanged, ranks have different numbers of originals: means of shares differ
                assert ours[key] == near(theirs[key]), (key, theirs['iter'])


def test_curve_and_checkpoint(tmp_path, image_root):
    cfg = make_config(
        tmp_path / 'run',
        image_root,
        'gan_mae',
        epochs=2,
        **{'default_hooks.discriminator': dict(type='DiscriminatorHook', window=4)},
    )
    train_here(cfg)
    curve = read_curve(tmp_path / 'run')
    assert {'loss_mae', 'loss_adv', 'gamma', 'loss_disc', 'original_accuracy', 'generated_accuracy'} <= set(curve[0])
    assert all(0 <= line['original_accuracy'] <= 1 for line in curve)
    weights = load_weights(tmp_path / 'run')
    assert {name.partition('.')[0] for name in weights} == {'backbone', 'neck', 'patch_head'}


def test_a_run_starts_from_mae_and_refuses_two_encoders(tmp_path, image_root):
    raw = {'model.target.norm_pix': False}
    train_here(make_config(tmp_path / 'mae', image_root, 'mae', epochs=2, **raw))
    for name, sharing in (('apart', 'separate'), ('shared', 'shared')):
        cfg = make_config(
            tmp_path / name,
            image_root,
            'gan_mae',
            epochs=2,
            **{
                'model.sharing': sharing,
                'load_from': str(tmp_path / 'mae/epoch_2.pth'),
                'train_cfg.max_iters': 1,
                'optim_wrapper.optimizer.lr': 0.0,
                'base_lr': 0.0,
            },
        )
        model = train_here(cfg).model
        mae = load_weights(tmp_path / 'mae')
        for key, p in model.named_parameters():
            if not key.startswith('patch_head.'):
                assert torch.equal(p, mae[key.replace('discriminator_backbone', 'backbone')]), key
    normalised = make_config(tmp_path / 'normalised', image_root, 'mae', epochs=2, **{'train_cfg.max_iters': 1})
    train_here(normalised)
    cfg = make_config(tmp_path / 'paints', image_root, 'gan_mae', load_from=str(tmp_path / 'normalised/iter_1.pth'))
    with pytest.raises(EncoderMismatchError, match='Set model.target.norm_pix=True'):
        train_here(cfg)
    cfg = make_config(
        tmp_path / 'refused',
        image_root,
        'gan_mae',
        epochs=2,
        load_from=str(next((tmp_path / 'apart').glob('iter_1.pth'))),
    )
    DefaultScope.get_instance('refused', scope_name='mmmim')
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match="sharing='separate'"):
        runner.train()
