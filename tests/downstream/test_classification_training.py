"""Classifiers learn, resume, run in several processes and are tested, through the tools that people use."""

import json
import signal

import pytest
import torch
from cls_harness import make_classifier_config, mixing
from harness import (
    largest_difference,
    load_weights,
    make_config,
    near,
    read_curve,
    run_tool,
    save_config,
    train,
    train_here,
)
from mmengine.hooks import Hook

from mmmim.checkpoint.encoder import from_mmmim, left_out
from mmmim.registry import HOOKS

pytestmark = pytest.mark.runs

SAVE_OFTEN = {'default_hooks.checkpoint.interval_iters': 3, 'custom_hooks': [dict(type='mmmim.DieHook')]}
STRONG = [
    dict(
        type='mmmim.AsBGR',
        transforms=[
            dict(
                type='RandAugment',
                policies='timm_increasing',
                num_policies=2,
                total_level=10,
                magnitude_level=9,
                magnitude_std=0.5,
            )
        ],
    ),
    dict(type='RandomErasing', erase_prob=0.5, mode='rand'),
]


def accuracies(work_dir):
    return [line['accuracy/top1'] for line in read_curve(work_dir) if 'accuracy/top1' in line]


def run_test(config, *args, **options):
    return run_tool('test.py', config, *args, **options)


def convert(source, target, scheme):
    """Write a checkpoint in other names, and return what they have no place for."""
    ours = torch.load(source, weights_only=True)['state_dict']
    torch.save(from_mmmim(ours, scheme), target)
    return left_out(ours, scheme)


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory, image_root):
    """A MAE checkpoint of the encoder that these classifiers have."""
    folder = tmp_path_factory.mktemp('pretrained')
    train_here(make_config(folder / 'run', image_root, epochs=2))
    return folder / 'run/epoch_2.pth'


@pytest.fixture(scope='module')
def fine_tuned(tmp_path_factory, image_root, pretrained):
    """(config, work dir) of fine-tuning through tools/train.py; the images are two classes of gradients."""
    folder = tmp_path_factory.mktemp('fine_tuned')
    cfg = make_classifier_config(
        folder / 'run', image_root, epochs=20, base_lr=0.08, **{'optim_wrapper.paramwise_cfg.layer_decay_rate': 0.9}
    )
    config = save_config(cfg, folder / 'config.py')
    train(config, '--cfg-options', f'pretrained={pretrained}')
    return config, folder / 'run'


def test_fine_tuning_learns(fine_tuned):
    assert accuracies(fine_tuned[1])[-1] > 80  # chance is 50


def test_scratch_and_fine_tuning_differ_in_where_they_start(fine_tuned, pretrained, image_root, tmp_path):
    runner = train_here(
        make_classifier_config(
            tmp_path / 'run',
            image_root,
            epochs=2,
            **{'pretrained': str(pretrained), 'train_cfg.max_iters': 1, 'base_lr': 0.0},
        )
    )
    theirs = torch.load(pretrained, weights_only=True)['state_dict']
    ours = runner.model.backbone.state_dict()
    assert all(torch.equal(value, theirs[f'backbone.{name}']) for name, value in ours.items())


@pytest.mark.parametrize('scheme', ['timm', 'mae', 'hf', 'mmpretrain'])
def test_a_classifier_of_another_project_is_tested_as_it_is(fine_tuned, tmp_path, scheme):
    """Its norm after pooling and its linear layer find their places, too."""
    config, work_dir = fine_tuned
    theirs, out = tmp_path / 'theirs.pth', tmp_path / 'result.json'
    lost = convert(work_dir / 'epoch_20.pth', theirs, scheme)
    if lost:  # a norm after pooling is what some have no place for
        assert {name.split('.')[-2] for name in lost} == {'fc_norm'}
        done = run_test(config, theirs, check=False)
        assert done.returncode and 'neck.norm.weight' in done.stderr
        return
    run_test(config, theirs, '--out', out)
    assert json.loads(out.read_text())['accuracy/top1'] == pytest.approx(accuracies(work_dir)[-1])


def test_tools_test_repeats_the_last_validation(fine_tuned, tmp_path):
    config, work_dir = fine_tuned
    out = tmp_path / 'result.json'
    run_test(config, work_dir / 'epoch_20.pth', '--out', out)
    result = json.loads(out.read_text())
    assert result['accuracy/top1'] == pytest.approx(accuracies(work_dir)[-1])
    assert 'accuracy/top5' not in result  # of two classes


def test_tools_test_refuses_a_checkpoint_without_a_classifier(fine_tuned, pretrained):
    done = run_test(fine_tuned[0], pretrained, check=False)
    assert done.returncode == 1 and 'head.fc.weight' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize('protocol, base_lr', [('linear', 0.5), ('partial', 0.5)])
def test_frozen_encoders_are_unchanged_and_the_classifier_learns(protocol, base_lr, pretrained, image_root, tmp_path):
    cfg = make_classifier_config(
        tmp_path / 'run', image_root, protocol, epochs=12, base_lr=base_lr, **{'pretrained': str(pretrained)}
    )
    model = train_here(cfg).model
    theirs = torch.load(pretrained, weights_only=True)['state_dict']
    ours = model.backbone.state_dict()
    changed = {
        name.rpartition('.')[0].split('.attn')[0].split('.mlp')[0]
        for name, value in ours.items()
        if not torch.equal(value, theirs[f'backbone.{name}'])
    }
    assert {name.split('.norm')[0] for name in changed} == (set() if protocol == 'linear' else {'blocks.1'})
    assert accuracies(tmp_path / 'run')[-1] > 65


@pytest.mark.parametrize('variant', ['mixed-and-averaged', 'linear-lars'])
def test_killed_and_resumed_is_bit_identical(variant, tmp_path, image_root):
    """With all that is random in fine-tuning, and the average of the weights; and with LARS behind a batch norm."""
    if variant == 'linear-lars':
        protocol, options = 'linear', {'optim_wrapper.optimizer': dict(_delete_=True, type='mmmim.LARS')}
    else:
        protocol, options = 'finetune', {**mixing(), 'ema_decay': 0.9, 'model.backbone.drop_path_rate': 0.2}
    cfg = make_classifier_config(
        tmp_path / 'whole', image_root, protocol, epochs=3, base_lr=0.1, workers=1, **SAVE_OFTEN, **options
    )
    cfg.train_dataloader.dataset.pipeline[3:3] = STRONG
    config = save_config(cfg, tmp_path / 'config.py')
    train(config)
    args = ['--work-dir', str(tmp_path / 'cut'), '--resume']
    for kill in (dict(TEST_KILL_AT='7'), dict(TEST_KILL_IN_WRITE='1'), dict(TEST_KILL_AT='9')):
        done = train(config, *args, check=False, **kill)
        assert done.returncode == -signal.SIGKILL, f'{kill}: {done.stderr[-2000:]}'
    train(config, *args, '--cfg-options', 'train_dataloader.num_workers=0')
    whole, cut = (torch.load(tmp_path / name / 'epoch_3.pth', weights_only=True) for name in ('whole', 'cut'))
    assert largest_difference(whole['state_dict'], cut['state_dict']) == 0
    assert read_curve(tmp_path / 'whole') == read_curve(tmp_path / 'cut')
    if protocol == 'finetune':
        assert largest_difference(whole['ema_state_dict'], cut['ema_state_dict']) == 0
        plain = {name.removeprefix('module.'): value for name, value in whole['ema_state_dict'].items()}
        assert largest_difference({k: plain[k] for k in whole['state_dict']}, whole['state_dict']) > 0


def test_a_signal_to_the_whole_group_saves_though_workers_of_the_validation_wait(tmp_path, image_root):
    cfg = make_classifier_config(tmp_path / 'run', image_root, workers=1, **SAVE_OFTEN)
    cfg.val_dataloader.persistent_workers = True
    config = save_config(cfg, tmp_path / 'config.py')
    done = train(config, check=False, TEST_KILL_AT='6', TEST_SIGNAL='SIGTERM', TEST_KILL_GROUP='1')
    assert len(accuracies(tmp_path / 'run')) == 1  # the first epoch's: the workers were there
    assert done.returncode == 75, done.stderr[-2000:]
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith('iter_7.pth')


@pytest.mark.parametrize('protocol, limit', [('finetune', None), ('finetune', 4), ('linear', None)])
def test_two_processes_equal_one(protocol, limit, tmp_path, image_root):
    """Also the statistics of the batch norm, and the validation. Mixing pairs images within a process: left out."""
    weights, curves = [], []
    for processes in (1, 2):
        cfg = make_classifier_config(
            tmp_path / f'run{processes}',
            image_root,
            protocol,
            epochs=2,
            base_lr=0.1,
            **{'model.backbone.drop_path_rate': 0.0, 'max_batch_per_device': limit if processes == 2 else None},
        )
        cfg.train_dataloader.dataset.pipeline[3:3] = STRONG
        train(save_config(cfg, tmp_path / f'config{processes}.py'), processes=processes, TEST_DTYPE='float64')
        weights.append(load_weights(tmp_path / f'run{processes}'))
        curves.append(read_curve(tmp_path / f'run{processes}'))
    assert largest_difference(*weights) < 1e-9
    ours, theirs = ([line['loss'] for line in curve if 'loss' in line] for curve in curves)
    assert len(ours) == 8 and ours == near(theirs, 1e-9)
    assert accuracies(tmp_path / 'run1') == accuracies(tmp_path / 'run2')


@HOOKS.register_module(force=True)
class FollowAverageHook(Hook):
    """Keeps one weight's average by the formula, and what validation runs with."""

    priority = 'VERY_LOW'
    weight = 'head.fc.weight'
    decay = 0.8

    def before_train(self, runner) -> None:
        self.average, self.validated = None, []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        now = runner.model.get_parameter(self.weight).detach().clone()
        self.average = now if self.average is None else self.decay * self.average + (1 - self.decay) * now

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.validated.append((runner.model.get_parameter(self.weight).detach() - self.average).abs().max().item())


def test_the_average_is_validated_and_saved(tmp_path, image_root):
    cfg = make_classifier_config(tmp_path / 'run', image_root, epochs=4, base_lr=0.1, ema_decay=0.8)
    cfg.custom_hooks = [dict(type='mmmim.FollowAverageHook')]
    runner = train_here(cfg)
    hook = next(hook for hook in runner.hooks if isinstance(hook, FollowAverageHook))
    assert len(hook.validated) == 4 and max(hook.validated) < 1e-6
    saved = torch.load(tmp_path / 'run/epoch_4.pth', weights_only=True)['state_dict'][hook.weight]
    trained = runner.model.get_parameter(hook.weight)
    assert torch.allclose(saved, hook.average, atol=1e-6) and not torch.allclose(saved, trained, atol=1e-4)


@pytest.mark.parametrize(
    'options, words',
    [
        ({'num_classes': 3}, ['2 classes', 'num_classes=2']),
        ({'ema_decay': 2}, ['ema_decay=2']),
        ({'pretrained': 'nowhere.pth'}, ['nowhere.pth']),
        ({'model.backbone.trainable_blocks': 7}, ['trainable_blocks=7', 'between 0 and 2']),
    ],
)
def test_bad_input_is_told_in_a_line(options, words, tmp_path, image_root):
    config = save_config(make_classifier_config(tmp_path / 'run', image_root, **options), tmp_path / 'config.py')
    done = train(config, check=False)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    for word in words:
        assert word in done.stderr


def test_folders_whose_classes_differ_are_refused(tmp_path, image_root):
    folder = tmp_path / 'val'
    for i, name in enumerate(('class0', 'class2')):
        (folder / name).mkdir(parents=True)
        (folder / name / 'a.jpg').write_bytes((image_root / f'class{i}/000.jpg').read_bytes())
    cfg = make_classifier_config(tmp_path / 'run', image_root, **{'val_dataloader.dataset.data_root': str(folder)})
    done = train(save_config(cfg, tmp_path / 'config.py'), check=False)
    assert done.returncode == 1 and 'class1, class2' in done.stderr
