"""Resuming what does not fit, losses that are not finite, and what the log and the checkpoints hold."""
import json
import logging

import pytest
import torch
from harness import largest_difference, make_config, read_curve, train_here
from mmengine.hooks import Hook

from mmmim.engine.hooks.run_state import ResumeError
from mmmim.engine.hooks.runtime_info import NonFiniteLossError
from mmmim.registry import HOOKS
from mmmim.translate import EncoderMismatchError


@pytest.fixture(scope='module')
def finished(tmp_path_factory, image_root):
    """Work dir of a run of one epoch, in this process."""
    work_dir = tmp_path_factory.mktemp('finished') / 'run'
    train_here(_config(work_dir, image_root))
    return work_dir


def _config(work_dir, images, **overrides):
    return make_config(work_dir, images, epochs=2, **{
        'custom_imports.imports': ['mmmim'], 'experiment_name': f'{work_dir}', **overrides})


def _resume(finished, tmp_path, images, **overrides):
    return train_here(_config(tmp_path / 'run', images, **{
        'resume': True, 'load_from': str(finished / 'epoch_1.pth'), **overrides}))


@pytest.mark.parametrize('overrides, words', [
    ({'model.backbone.arch.depth': 3}, ['model', 'missing in the checkpoint', 'blocks.2']),
    ({'model.neck.embed_dim': 24}, ['model', 'another shape', '[16', '[24']),
    ({'optim_wrapper.optimizer.type': 'Adam'}, ['optimizer', 'AdamW', "'Adam'"]),
    ({'train_dataloader.dataset.indices': 48}, ['dataset_length', '64', '48']),
    ({'total_batch_size': 32}, ['steps_per_epoch', '4', '2']),
])
def test_resume_with_another_structure_is_an_error_that_names_both(finished, tmp_path, image_root, overrides, words):
    with pytest.raises(ResumeError) as error:
        _resume(finished, tmp_path, image_root, **overrides)
    for word in words:
        assert word in str(error.value)


def test_resume_with_another_world_size_is_an_error(finished, tmp_path, image_root):
    checkpoint = torch.load(finished / 'epoch_1.pth', weights_only=True)
    checkpoint['mmmim']['world_size'] = 8
    torch.save(checkpoint, tmp_path / 'eight.pth')
    with pytest.raises(ResumeError, match='world_size: the checkpoint has 8, this run 1'):
        _resume(finished, tmp_path, image_root, load_from=str(tmp_path / 'eight.pth'))


def test_other_differences_are_a_warning_that_lists_them(finished, tmp_path, image_root, caplog):
    with caplog.at_level(logging.WARNING, logger='mmengine'):
        _resume(finished, tmp_path, image_root, **{'optim_wrapper.optimizer.weight_decay': 0.3})
    log = ''.join(path.read_text() for path in (tmp_path / 'run').glob('*/*.log'))
    assert 'The config differs' in log and 'weight_decay=0.3' in log and 'weight_decay=0.05' in log


def test_weights_alone_cannot_be_resumed(finished, tmp_path, image_root):
    torch.save(dict(state_dict={}), tmp_path / 'bare.pth')
    with pytest.raises(ResumeError, match='load_from'):
        _resume(finished, tmp_path, image_root, load_from=str(tmp_path / 'bare.pth'))


def test_load_from_takes_the_weights_and_starts_anew(finished, tmp_path, image_root):
    runner = train_here(_config(tmp_path / 'run', image_root, **{
        'load_from': str(finished / 'epoch_2.pth'), 'train_cfg.max_iters': 1, 'base_lr': 0.0}))
    saved = torch.load(finished / 'epoch_2.pth', weights_only=True)['state_dict']
    assert largest_difference(saved, runner.model.state_dict()) == 0
    assert runner.iter == 1


def test_load_from_translates_the_original_names(finished, tmp_path, image_root):
    from mmmim.translate import from_mmmim
    saved = torch.load(finished / 'epoch_2.pth', weights_only=True)['state_dict']
    torch.save(dict(model=from_mmmim(saved, 'mae')), tmp_path / 'original.pth')
    runner = train_here(_config(tmp_path / 'run', image_root, **{
        'load_from': str(tmp_path / 'original.pth'), 'train_cfg.max_iters': 1, 'base_lr': 0.0}))
    assert largest_difference(saved, runner.model.state_dict()) == 0


def test_load_from_with_another_encoder_is_refused(finished, tmp_path, image_root):
    with pytest.raises(EncoderMismatchError, match=r'\[32.*\n?.*\[48|blocks'):
        train_here(_config(tmp_path / 'run', image_root, **{
            'load_from': str(finished / 'epoch_2.pth'), 'model.backbone.arch.embed_dim': 48}))


@HOOKS.register_module(force=True)
class PoisonHook(Hook):
    """Makes the weights NaN before one iteration."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            next(runner.model.neck.parameters()).data.fill_(float('nan'))


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


def test_losses_are_read_at_the_log_interval_only(tmp_path, image_root, monkeypatch):
    """One transfer for each interval, whatever the number of iterations."""
    from mmmim.engine.hooks import DeferredRuntimeInfoHook
    reads = []
    flush = DeferredRuntimeInfoHook.flush
    monkeypatch.setattr(DeferredRuntimeInfoHook, 'flush',
                        lambda self, runner: (reads.append(len(self.pending)), flush(self, runner))[1])
    train_here(_config(tmp_path / 'run', image_root, **{'default_hooks.checkpoint.save_last': False,
                                                        'default_hooks.checkpoint.interval': -1}))
    assert [n for n in reads if n] == [3, 1, 3, 1]  # interval 3 in epochs of 4


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
