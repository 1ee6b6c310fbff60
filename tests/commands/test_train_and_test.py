"""The command lines: what they print, how they end, and what bad input is told."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys

import pytest
import torch
from harness import ROOT, environment, largest_difference, load_weights, make_config, python, save_config, train

pytestmark = pytest.mark.runs

TEST_PIPELINE = [dict(type='LoadImage'), dict(type='Resize', size=16), dict(type='PackImage')]


def _config(folder, images, **overrides):
    data = dict(type='ImageFolder', data_root=str(images), pipeline=TEST_PIPELINE)
    cfg = make_config(folder / 'run', images, epochs=2, **{'custom_imports.imports': ['mmmim'], **overrides})
    cfg.merge_from_dict(
        dict(
            test_dataloader=dict(
                batch_size=20,
                num_workers=0,
                dataset=data,
                sampler=dict(type='EpochSampler', shuffle=False, pad=True),
                collate_fn=dict(type='mmmim.mim_collate'),
            ),
            test_cfg=dict(),
            test_evaluator=dict(type='ReconstructionMetric'),
            feature_eval=dict(bank=data, query=data, ks=(3,), num_workers=0),
        )
    )
    return save_config(cfg, folder / 'config.py')


def _run(*command, **variables):
    return subprocess.run(
        [str(part) for part in command], env=environment(**variables), capture_output=True, text=True, timeout=300
    )


def _test(config, *args, processes=None):
    if processes:
        return _run('bash', ROOT / 'tools/dist_test.sh', config, args[0], processes, *args[1:])
    return python(ROOT / 'tools/test.py', config, *args)


@pytest.fixture(scope='module')
def trained(tmp_path_factory, image_root):
    folder = tmp_path_factory.mktemp('cli')
    config = _config(folder, image_root)
    train(config)
    return config


def test_test_prints_loss_knn_and_linear_probe_in_one_process_and_two(trained, tmp_path):
    checkpoint = trained.parent / 'run/epoch_2.pth'
    done = _test(trained, checkpoint, '--linear', '--out', tmp_path / 'one.json')
    assert done.returncode == 0, done.stderr
    one = json.loads((tmp_path / 'one.json').read_text())
    assert {k: one[k] for k in one if '/' not in k} == dict(
        checkpoint=str(checkpoint), iter=8, epoch=2, config=str(trained), when=one['when']
    )
    assert {k for k in one if '/' in k} == {
        f'held_out/{name}' for name in ('recon_loss', 'sharpness', 'out_of_range')
    } | {
        'knn/top1_k3',
        'linear/top1',
    }
    # the report page finds them in the work dir
    assert json.loads((trained.parent / 'run/evaluations/epoch_2.json').read_text()) == one
    assert 0 < one['held_out/recon_loss'] < 2 and one['knn/top1_k3'] > 60
    done = _test(trained, checkpoint, '--linear', '--out', tmp_path / 'two.json', processes=2)
    assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / 'two.json').read_text())
    assert {k: v for k, v in two.items() if '/' in k} == pytest.approx(
        {k: v for k, v in one.items() if '/' in k}, rel=1e-5
    )


def test_test_without_a_checkpoint_measures_the_initialisation(trained, tmp_path):
    done = _test(trained, '--out', tmp_path / 'init.json')
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'init.json').read_text())['checkpoint'] == 'random initialisation'


def test_test_takes_the_exported_encoder(trained, tmp_path):
    """k-NN needs the encoder only: the exported file gives what the checkpoint gives."""
    for name in ('epoch_2.pth', 'encoder.safetensors'):
        done = _test(trained, trained.parent / 'run' / name, '--out', tmp_path / f'{name}.json')
        assert done.returncode == 0, done.stderr
    full, exported = (
        json.loads((tmp_path / f'{name}.json').read_text()) for name in ('epoch_2.pth', 'encoder.safetensors')
    )
    assert full['knn/top1_k3'] == exported['knn/top1_k3']


BAD_INPUT = {
    'no config': (['nowhere.py'], ['nowhere.py', 'no config']),
    'no such folder': (['train_dataloader.dataset.data_root=/no/such/folder'], ['/no/such/folder']),
    'unknown key': (['model.backbone.pathc_size=8'], ['pathc_size', 'patch_size', 'MaskedViT']),
    'unknown option': (['modle.backbone.patch_size=8'], ['modle', 'model']),
    'patch does not divide': (['model.backbone.patch_size=5'], ['16x16', '5x5', 'divide']),
    'mask ratio outside': (['model.mask_ratio=1.0'], ['mask_ratio=1.0', '(0, 1)']),
    'no visible patch': (['model.mask_ratio=0.99'], ['leaves no visible patch', '4x4']),
    'batch larger than the data': (['total_batch_size=128'], ['64 images', '128', 'total_batch_size']),
    'warm-up as long as training': (['warmup_epochs=2'], ['warmup_epochs', 'max_epochs']),
    'wrong load_from': (['load_from=/no/file.pth'], ['/no/file.pth']),
}


def _main(monkeypatch, tool, *args):
    """Run a tool in this process; returns what it exits with."""
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    return end.value.code


@pytest.mark.parametrize('case', BAD_INPUT)
def test_bad_input_is_told_before_training(case, tmp_path, image_root, monkeypatch):
    options, words = BAD_INPUT[case]
    config = tmp_path / options[0] if case == 'no config' else _config(tmp_path, image_root)
    args = [] if case == 'no config' else ['--cfg-options', *options]
    message = _main(monkeypatch, 'train.py', config, *args)
    for word in words:
        assert word in message
    assert not (tmp_path / 'run/curve.jsonl').exists()


def test_beginning_over_checkpoints_has_to_be_asked_for(trained, tmp_path, monkeypatch):
    run = shutil.copytree(trained.parent / 'run', tmp_path / 'run')
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    message = _main(monkeypatch, 'train.py', trained, '--work-dir', run)
    assert all(word in message for word in ('StartOverError', str(run), '--resume', '--anew', '--work-dir'))
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    train(trained, '--work-dir', run, '--anew', '--cfg-options', 'train_cfg.max_iters=2')
    assert (run / 'last_checkpoint').read_text() == str(run / 'iter_2.pth')
    assert (run / 'earlier_1/epoch_2.pth').read_bytes() == before[run / 'epoch_2.pth']
    assert _main(monkeypatch, 'train.py', trained, '--anew', '--resume') == 2


def test_empty_folder_is_told(tmp_path, monkeypatch):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty/notes.txt').write_text('no picture')
    message = _main(monkeypatch, 'train.py', _config(tmp_path, tmp_path / 'empty'))
    assert str(tmp_path / 'empty') in message and 'txt' in message


def test_errors_come_without_a_traceback(tmp_path, image_root):
    done = train(_config(tmp_path, image_root), '--cfg-options', 'model.mask_ratio=2', check=False)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr and done.stderr.rstrip().endswith('(MMMIM_TRACEBACK=1 shows where)')


class _Payload:
    """A pickle that leaves a mark when it is executed."""

    def __init__(self, mark) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        return os.system, (f'touch {self.mark}',)


@pytest.mark.parametrize('how', ['resume', 'load_from', 'init_cfg', 'test', 'convert'])
def test_a_hostile_checkpoint_does_not_run(how, trained, tmp_path):
    mark, path = tmp_path / 'executed', tmp_path / 'hostile.pth'
    torch.save(dict(state_dict=dict(load_weights(trained.parent / 'run')), meta=_Payload(mark)), path)
    work_dir = ['--work-dir', tmp_path / 'run']
    command = dict(
        resume=['train.py', trained, *work_dir, '--resume', path],
        load_from=['train.py', trained, *work_dir, '--cfg-options', f'load_from={path}'],
        init_cfg=[
            'train.py',
            trained,
            *work_dir,
            '--cfg-options',
            'model.backbone.init_cfg.type=Pretrained',
            f'model.backbone.init_cfg.checkpoint={path}',
        ],
        test=['test.py', trained, path, *work_dir],
        convert=['convert_checkpoint.py', path, tmp_path / 'out.pth'],
    )[how]
    done = python(ROOT / 'tools' / command[0], *command[1:])
    assert done.returncode == 1
    assert 'system' in done.stderr and str(path) in done.stderr
    assert not mark.exists()


def test_config_text_in_a_checkpoint_does_not_run(trained, tmp_path):
    mark, path = tmp_path / 'executed', tmp_path / 'text.pth'
    checkpoint = torch.load(trained.parent / 'run/epoch_1.pth', weights_only=True)
    code = f"import os\nos.system('touch {mark}')\n"
    checkpoint['meta'].update(cfg=code, config=code)
    torch.save(checkpoint, path)
    done = python(ROOT / 'tools/train.py', trained, '--work-dir', tmp_path / 'run', '--resume', path)
    assert done.returncode == 0, done.stderr
    assert not mark.exists()
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith('epoch_2.pth')


def test_seed_none_draws_one_and_keeps_it(trained, tmp_path):
    done = train(
        trained, '--work-dir', str(tmp_path / 'run'), '--cfg-options', 'randomness.seed=None', 'train_cfg.max_iters=2'
    )
    assert done.returncode == 0
    dumped = next((tmp_path / 'run').glob('*.py')).read_text()
    assert re.search(r'randomness = dict\(seed=\d+\)', dumped)
    # the drawn seed stays the run's: a resumed run ends as an undisturbed one of that seed
    seed = re.search(r'randomness = dict\(seed=(\d+)\)', dumped).group(1)
    train(trained, '--work-dir', str(tmp_path / 'run'), '--resume', '--cfg-options', 'randomness.seed=None')
    train(trained, '--work-dir', str(tmp_path / 'whole'), '--cfg-options', f'randomness.seed={seed}')
    assert largest_difference(load_weights(tmp_path / 'run'), load_weights(tmp_path / 'whole')) == 0
