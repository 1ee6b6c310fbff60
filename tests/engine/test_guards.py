"""Resuming what does not fit, losses that are not finite, and what the log and the checkpoints hold."""

import json
import logging

import pytest
import torch
from harness import largest_difference, make_config, read_curve, train_here
from mmengine.hooks import Hook

from mmmim.checkpoint import defaults
from mmmim.checkpoint.encoder import EncoderMismatchError
from mmmim.engine.hooks import StepSeedHook
from mmmim.engine.hooks.run_state import ResumeError
from mmmim.engine.hooks.runtime_info import NonFiniteLossError
from mmmim.positions import resize_pos_embed, sincos_positions
from mmmim.registry import HOOKS

pytestmark = pytest.mark.runs


@pytest.fixture(scope='module')
def finished(tmp_path_factory, image_root):
    """Work dir of a run of one epoch, in this process."""
    work_dir = tmp_path_factory.mktemp('finished') / 'run'
    train_here(_config(work_dir, image_root))
    return work_dir


def _config(work_dir, images, **overrides):
    return make_config(
        work_dir,
        images,
        epochs=2,
        **{'custom_imports.imports': ['mmmim'], 'experiment_name': f'{work_dir}', **overrides},
    )


def _resume(finished, tmp_path, images, **overrides):
    return train_here(
        _config(tmp_path / 'run', images, **{'resume': True, 'load_from': str(finished / 'epoch_1.pth'), **overrides})
    )


def test_a_value_of_another_type_ends_a_run_before_it_writes(tmp_path, image_root):
    with pytest.raises(TypeError, match=r'model.mask_ratio=\[0.5, 0.75\]: it takes a number, and this is a list'):
        train_here(_config(tmp_path / 'run', image_root, **{'model.mask_ratio': [0.5, 0.75]}))
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    'overrides, words',
    [
        ({'model.backbone.arch.depth': 3}, ['model', 'missing in the checkpoint', 'blocks.2']),
        ({'model.neck.embed_dim': 24}, ['model', 'another shape', '[16', '[24']),
        ({'optim_wrapper.optimizer.type': 'Adam'}, ['optimizer', 'AdamW', "'Adam'"]),
        ({'train_dataloader.dataset.indices': 48}, ['dataset_length', '64', '48']),
        ({'total_batch_size': 32}, ['steps_per_epoch', '4', '2']),
        ({'train_dataloader.sampler.repeat_crops': 4}, ['repeat_crops', '1', '4']),
        (
            {'lr_base_batch': 512, 'optim_wrapper.clip_grad.max_norm': 5.0},
            ['lr_base_batch: the checkpoint has 256, this run 512', '- then, + now', '\n+', 'max_norm=5.0'],
        ),
    ],
)
def test_resume_with_another_structure_is_an_error_that_names_both(finished, tmp_path, image_root, overrides, words):
    with pytest.raises(ResumeError) as error:
        _resume(finished, tmp_path, image_root, **overrides)
    for word in words:
        assert word in str(error.value)


def test_resume_with_another_total_batch_is_an_error(finished, tmp_path, image_root):
    checkpoint = torch.load(finished / 'epoch_1.pth', weights_only=True)
    before, checkpoint['mmmim']['total_batch'] = checkpoint['mmmim']['total_batch'], 128
    torch.save(checkpoint, tmp_path / 'larger.pth')
    with pytest.raises(ResumeError, match=f'total_batch: the checkpoint has 128, this run {before}'):
        _resume(finished, tmp_path, image_root, load_from=str(tmp_path / 'larger.pth'))


@pytest.mark.parametrize('known', [0, 1])
def test_a_default_that_has_changed_since_is_an_error_that_names_its_old_value(
    finished, tmp_path, image_root, monkeypatch, known
):
    checkpoint = torch.load(finished / 'epoch_1.pth', weights_only=True)
    assert checkpoint['mmmim']['changed_defaults'] == len(defaults.CHANGED)
    checkpoint['mmmim'] = {k: v for k, v in checkpoint['mmmim'].items() if k != 'changed_defaults'}
    if known:  # by what wrote it
        checkpoint['mmmim']['changed_defaults'] = known
    torch.save(checkpoint, tmp_path / 'before.pth')
    changed = defaults.ChangedDefault(('MaskedViT',), 'final_norm', False, True)
    monkeypatch.setattr(defaults, 'CHANGED', (changed,))
    options = dict(load_from=str(tmp_path / 'before.pth'))
    if known:
        assert _resume(finished, tmp_path, image_root, **options).iter == 8
        return
    with pytest.raises(ResumeError, match=r'False was the default; set model\.backbone\.final_norm=False'):
        _resume(finished, tmp_path, image_root, **options)


def test_other_differences_are_a_warning_that_lists_them(finished, tmp_path, image_root, caplog):
    with caplog.at_level(logging.WARNING, logger='mmengine'):
        _resume(finished, tmp_path, image_root, **{'optim_wrapper.clip_grad.max_norm': 5.0})
    log = ''.join(path.read_text() for path in (tmp_path / 'run').glob('*/*.log'))
    assert 'The config differs' in log and '\n+' in log and 'max_norm=5.0' in log


def test_weights_alone_cannot_be_resumed(finished, tmp_path, image_root):
    torch.save(dict(state_dict={}), tmp_path / 'bare.pth')
    with pytest.raises(ResumeError, match='load_from'):
        _resume(finished, tmp_path, image_root, load_from=str(tmp_path / 'bare.pth'))


def test_load_from_takes_the_weights_and_starts_anew(finished, tmp_path, image_root):
    runner = train_here(
        _config(
            tmp_path / 'run',
            image_root,
            **{'load_from': str(finished / 'epoch_2.pth'), 'train_cfg.max_iters': 1, 'base_lr': 0.0},
        )
    )
    saved = torch.load(finished / 'epoch_2.pth', weights_only=True)['state_dict']
    assert largest_difference(saved, runner.model.state_dict()) == 0
    assert runner.iter == 1


def test_load_from_translates_the_original_names(finished, tmp_path, image_root):
    from mmmim.checkpoint.encoder import from_mmmim

    saved = torch.load(finished / 'epoch_2.pth', weights_only=True)['state_dict']
    torch.save(dict(model=from_mmmim(saved, 'mae')), tmp_path / 'original.pth')
    runner = train_here(
        _config(
            tmp_path / 'run',
            image_root,
            **{'load_from': str(tmp_path / 'original.pth'), 'train_cfg.max_iters': 1, 'base_lr': 0.0},
        )
    )
    assert largest_difference(saved, runner.model.state_dict()) == 0


def test_load_from_takes_one_of_several_networks_and_says_what_it_did(finished, tmp_path, image_root):
    saved = torch.load(finished / 'epoch_2.pth', weights_only=True)['state_dict']
    other = {name: torch.zeros_like(value) for name, value in saved.items()}
    torch.save(dict(teacher=other, student=saved), tmp_path / 'two.pth')
    options = {'load_from': str(tmp_path / 'two.pth'), 'train_cfg.max_iters': 1, 'base_lr': 0.0}
    for key in ('prefix', 'part'):
        chosen = {**options, f'default_hooks.load_from.{key}': 'student'}
        runner = train_here(_config(tmp_path / key, image_root, **chosen))
        assert largest_difference(saved, runner.model.state_dict()) == 0
        log = next((tmp_path / key).rglob('*.log')).read_text()
        assert f'load_from: {tmp_path / "two.pth"} fills backbone (' in log and 'not used: nothing' in log
    runner = train_here(_config(tmp_path / 'default', image_root, **options))
    assert largest_difference(other, runner.model.state_dict()) == 0
    log = next((tmp_path / 'default').rglob('*.log')).read_text()
    assert "several networks: 'teacher' is taken; prefix= takes 'student'" in log


def test_load_from_with_another_encoder_is_refused(finished, tmp_path, image_root):
    with pytest.raises(EncoderMismatchError, match=r'\[32.*\n?.*\[48|blocks'):
        train_here(
            _config(
                tmp_path / 'run',
                image_root,
                **{'load_from': str(finished / 'epoch_2.pth'), 'model.backbone.arch.embed_dim': 48},
            )
        )


@HOOKS.register_module(force=True)
class PoisonHook(Hook):
    """Makes the weights NaN before one iteration, or after it."""

    priority = 'VERY_HIGH'

    def __init__(self, at: int, after: bool = False) -> None:
        self.at, self.after = at, after

    def _poison(self, runner):
        if runner.iter == self.at:
            next(runner.model.neck.parameters()).data.fill_(float('nan'))

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.after:
            self._poison(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.after:
            self._poison(runner)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_files(tmp_path, image_root):
    cfg = _config(tmp_path / 'run', image_root, custom_hooks=[dict(type='PoisonHook', at=5)])
    with pytest.raises(NonFiniteLossError, match='iteration 6'):
        train_here(cfg)
    report = json.loads((tmp_path / 'run/non_finite.json').read_text())
    assert report['iter'] == 6 and report['values']['loss'] == 'nan'
    files = report['batches'][-1]['files']
    assert report['batches'][-1]['iter'] == 6 and len(files) == 16
    assert all((image_root / f'class{c}').name in ''.join(files) for c in (0, 1))
    assert [line['iter'] for line in report['last_finite']] == [1, 2, 3, 4, 5]
    # nothing poisoned was saved, and the curve ends with the last finite loss
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith('epoch_1.pth')
    assert read_curve(tmp_path / 'run')[-1]['iter'] == 5


def test_nothing_is_read_from_the_device_between_two_logs(tmp_path, image_root, monkeypatch):
    """No float(), bool() or .item() of a tensor in a step; .tolist() once for each interval."""
    reads = []

    def watch(name):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda self, *a: (reads.append(name) if self.is_floating_point() else None, original(self, *a))[1],
        )

    for name in ('item', '__float__', '__bool__', 'tolist'):
        watch(name)
    reads_before = []
    monkeypatch.setattr(StepSeedHook, 'before_train', lambda self, runner: reads_before.extend(reads), raising=False)
    train_here(
        _config(
            tmp_path / 'run',
            image_root,
            **{
                'default_hooks.checkpoint.save_last': False,
                'default_hooks.checkpoint.interval': -1,
                'default_hooks.export_encoder': None,
            },
        )
    )
    # interval 3 in epochs of 4: iterations 1-3, 4, 5-7 and 8; the mean over ranks and the own values each time
    assert reads[len(reads_before) :] == ['tolist'] * 4 * 2


def test_weights_that_are_not_finite_are_not_saved(tmp_path, image_root):
    """The loss of the last iteration was finite, its step was not."""
    cfg = _config(tmp_path / 'run', image_root, custom_hooks=[dict(type='PoisonHook', at=7, after=True)])
    with pytest.raises(NonFiniteLossError, match='weights are not finite'):
        train_here(cfg)
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith('epoch_1.pth')


def test_a_run_that_goes_on_elsewhere_leaves_the_old_checkpoints_alone(finished, tmp_path, image_root):
    before = sorted(path.name for path in finished.glob('*.pth'))
    train_here(
        _config(
            tmp_path / 'run',
            image_root,
            **{
                'resume': True,
                'load_from': str(finished / 'epoch_1.pth'),
                'default_hooks.checkpoint.max_keep_ckpts': 1,
                'default_hooks.checkpoint.interval_iters': 1,
            },
        )
    )
    assert sorted(path.name for path in finished.glob('*.pth')) == before
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['epoch_2.pth']


def test_a_resumed_run_keeps_its_seed(finished, tmp_path, image_root):
    runner = _resume(finished, tmp_path, image_root, **{'randomness.seed': 5})
    saved = torch.load(finished / 'epoch_2.pth', weights_only=True)['state_dict']
    assert largest_difference(saved, runner.model.state_dict()) == 0


def test_save_best_moves_the_pointer_and_prunes_like_any_other(tmp_path, image_root):
    pipeline = [dict(type='LoadImage'), dict(type='Resize', size=16), dict(type='PackImage')]
    loader = dict(
        batch_size=16,
        sampler=dict(type='EpochSampler', shuffle=False, pad=True),
        collate_fn=dict(type='mmmim.mim_collate'),
        dataset=dict(type='ImageFolder', data_root=str(image_root), pipeline=pipeline),
    )
    cfg = _config(
        tmp_path / 'run',
        image_root,
        **{
            'default_hooks.checkpoint.save_best': 'held_out/recon_loss',
            'default_hooks.checkpoint.rule': 'less',
            'default_hooks.checkpoint.max_keep_ckpts': 1,
        },
    )
    cfg.merge_from_dict(dict(val_dataloader=loader, val_cfg=dict(), val_evaluator=dict(type='ReconstructionMetric')))
    train_here(cfg)
    names = sorted(path.name for path in (tmp_path / 'run').glob('*.pth'))
    assert names == ['best_held_out_recon_loss_epoch_2.pth', 'epoch_2.pth']
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith('/epoch_2.pth')
    measured = [line for line in read_curve(tmp_path / 'run') if 'held_out/recon_loss' in line]
    assert [(line['iter'], line['epoch']) for line in measured] == [(4, 1), (8, 2)]


@pytest.mark.parametrize(
    'overrides, words',
    [
        ({'default_hooks.checkpoint.interval_iter': 5}, 'interval_iter'),
        ({'warmup_epochs': 0.25}, 'warmup_epochs=0.25 is 1 iterations at 4'),
        ({'model.mask_ratoi': 0.5}, 'did you mean `mask_ratio`'),
    ],
)
def test_settings_that_would_go_wrong_later_are_refused_at_once(tmp_path, image_root, overrides, words):
    with pytest.raises((TypeError, ValueError), match=words):
        train_here(_config(tmp_path / 'run', image_root, **overrides))


def test_checkpoints_need_nothing_but_plain_types(finished):
    checkpoint = torch.load(finished / 'epoch_2.pth', weights_only=True)  # torch's own list, without ours
    history = checkpoint['message_hub']['log_scalars']['train/loss']
    assert isinstance(history['log_history'], list) and len(history['log_history']) == 8
    assert checkpoint['meta']['iter'] == 8


def test_exported_encoder_has_timm_names_and_its_config(finished):
    import timm
    from safetensors import safe_open

    with safe_open(finished / 'encoder.safetensors', 'pt') as file:
        config = json.loads(file.metadata()['mmmim_config'])
        state = {key: file.get_tensor(key) for key in file.keys()}
    assert config['backbone']['type'] == 'MaskedViT' and len(config['mean']) == 3
    vit = timm.models.VisionTransformer(img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2, num_classes=0)
    assert not vit.load_state_dict(state).missing_keys


def test_optimizer_groups_are_merged(tmp_path, image_root):
    runner = train_here(_config(tmp_path / 'run', image_root, **{'train_cfg.max_iters': 1}))
    groups = runner.optim_wrapper.optimizer.param_groups
    assert sorted(group['weight_decay'] for group in groups) == [0.0, 0.05]
    trained = {id(p) for p in runner.model.parameters() if p.requires_grad}
    assert {id(p) for group in groups for p in group['params']} == trained
    decayed = next(g for g in groups if g['weight_decay'])['params']
    assert all(p.ndim > 1 for p in decayed)


def test_load_from_brings_the_decoders_positions_to_this_grid(tmp_path, image_root):
    """A row of 16 patches and 4 x 4 have equally large tables."""
    wide = _config(tmp_path / 'wide', image_root, **{'model.backbone.img_size': [4, 64], 'train_cfg.max_iters': 1})
    wide.train_dataloader.dataset.pipeline[1].size = (4, 64)
    train_here(wide)
    path = tmp_path / 'wide/iter_1.pth'
    start = {'base_lr': 0.0, 'train_cfg.max_iters': 1}
    neck = train_here(_config(tmp_path / 'square', image_root, load_from=str(path), **start)).model.neck
    theirs = torch.load(path, weights_only=True)
    table = theirs['state_dict']['neck.decoder_pos_embed']
    assert torch.equal(neck.decoder_pos_embed, resize_pos_embed(table, (1, 16), (4, 4), 1))
    assert torch.equal(neck.decoder_embed.weight, theirs['state_dict']['neck.decoder_embed.weight'])
    # mmpretrain's tables have their halves the other way round: the decoder was trained with them
    swapped = torch.cat([torch.zeros(1, 1, 16), sincos_positions(16, (4, 4), 0).roll(8, -1)], dim=1)
    theirs['state_dict'].update({'neck.decoder_pos_embed': swapped})
    torch.save(theirs, tmp_path / 'swapped.pth')
    start['load_from'] = str(tmp_path / 'swapped.pth')
    neck = train_here(_config(tmp_path / 'again', image_root, **start)).model.neck
    assert torch.equal(neck.decoder_pos_embed, swapped)
