"""A run goes on from its newest whole checkpoint: what is passed over, and why."""

import os
import shutil

import pytest
import torch
from mmengine.config import Config

from mmmim.checkpoint.newest import (
    POINTER,
    RESUMED_PARTS,
    glance,
    has_checkpoints,
    newest_checkpoint,
    newest_whole,
    set_aside,
)
from mmmim.checkpoint.newest import NoWholeCheckpointError as NoWhole
from mmmim.engine.resume import StartOverError, find_resume, fix_seed, is_finished

STEPS = 4  # iterations of an epoch


def place(folder, name, iteration, written=None, **parts):
    """A checkpoint at an iteration, written at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = dict(iter=iteration, epoch=iteration // STEPS, seed=iteration)
    weights = dict(weight=torch.full((64, 64), float(iteration)))
    whole = dict(meta=meta, state_dict=weights, message_hub={}, optimizer={}, mmmim={})
    whole.update(parts)
    path = folder / name
    torch.save({key: value for key, value in whole.items() if value is not None}, path)
    os.utime(path, (written or iteration, written or iteration))
    return path


@pytest.fixture
def run(tmp_path):
    """A work dir with the checkpoints of three places of a run."""
    folder = tmp_path / 'run'
    place(folder, 'epoch_4.pth', 16)
    place(folder, 'iter_18.pth', 18)
    place(folder, 'best_accuracy_epoch_9.pth', 36)
    newest = place(folder, 'epoch_5.pth', 20)
    (folder / POINTER).write_text(str(newest))
    return folder


def config(work_dir, **settings):
    return Config(dict(work_dir=str(work_dir), resume='auto', load_from=None, **settings))


# --------------------------------------------------------------------------------------------------------- the pointer

POINTERS = {
    'as written': lambda run: None,
    'empty': lambda run: (run / POINTER).write_text(''),
    'missing': lambda run: (run / POINTER).unlink(),
    'of a file that is not there': lambda run: (run / POINTER).write_text('/nowhere/epoch_7.pth'),
    'of an older one': lambda run: (run / POINTER).write_text(str(run / 'epoch_4.pth')),
    'of the best one': lambda run: (run / POINTER).write_text(str(run / 'best_accuracy_epoch_9.pth')),
    'garbage': lambda run: (run / POINTER).write_bytes(os.urandom(64) + b'\xff'),
    'zeros': lambda run: (run / POINTER).write_bytes(bytes(80)),
    'a folder': lambda run: ((run / POINTER).unlink(), (run / POINTER).mkdir()),
}


@pytest.mark.parametrize('pointer', POINTERS)
def test_the_pointer_is_a_hint(run, pointer):
    POINTERS[pointer](run)
    found, _ = newest_whole(run)
    assert found == (str(run / 'epoch_5.pth'), 20, 5, 20)
    assert newest_checkpoint(run) == str(run / 'epoch_5.pth')


def test_a_lost_file_that_the_pointer_names_is_told(run, capsys):
    (run / 'epoch_5.pth').unlink()
    cfg = config(run)
    assert find_resume(cfg).path == str(run / 'iter_18.pth') and cfg.resume is True
    (line,) = capsys.readouterr().err.splitlines()
    assert 'goes on from' in line and 'epoch_5.pth: it is not there' in line


def test_a_work_dir_may_move_and_be_copied(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'copy')
    assert newest_whole(copy)[0].path == newest_checkpoint(copy) == str(copy / 'epoch_5.pth')
    run.rename(tmp_path / 'moved')
    assert newest_whole(tmp_path / 'moved')[0].path == str(tmp_path / 'moved/epoch_5.pth')


def test_a_folder_for_checkpoints_elsewhere(tmp_path):
    hook = dict(checkpoint=dict(out_dir=str(tmp_path / 'disk')))
    place(tmp_path / 'disk/run', 'epoch_2.pth', 8)
    newest = place(tmp_path / 'disk/run', 'epoch_3.pth', 12)
    (tmp_path / 'run').mkdir()
    assert find_resume(config(tmp_path / 'run', default_hooks=hook)).path == str(newest)
    (tmp_path / 'run' / POINTER).write_text(str(newest))
    assert find_resume(config(tmp_path / 'run')).path == newest_checkpoint(tmp_path / 'run') == str(newest)


def test_another_name_counts_where_the_pointer_says_it(tmp_path):
    path = place(tmp_path, 'mine.pth', 8)
    assert not has_checkpoints(tmp_path)
    (tmp_path / POINTER).write_text(str(path))
    assert newest_whole(tmp_path)[0].path == str(path)


# ----------------------------------------------------------------------------------------------------------- the order


@pytest.mark.parametrize('pointer', [None, 'epoch_4.pth', 'iter_18.pth', 'epoch_5.pth', 'iter_22.pth'])
@pytest.mark.parametrize('times', [(1, 2, 3, 4), (4, 3, 2, 1), (5, 5, 5, 5)])
def test_epochs_and_iterations_are_compared_by_what_the_files_say(tmp_path, pointer, times):
    places = {'epoch_4.pth': 16, 'iter_18.pth': 18, 'epoch_5.pth': 20, 'iter_22.pth': 22}
    for (name, iteration), written in zip(places.items(), times):
        place(tmp_path, name, iteration, written)
    if pointer:
        (tmp_path / POINTER).write_text(str(tmp_path / pointer))
    for name in reversed(places):
        assert newest_whole(tmp_path)[0].path == str(tmp_path / name)
        (tmp_path / name).write_bytes(b'')


def test_a_stop_in_the_last_iteration_of_an_epoch_is_before_its_end(tmp_path):
    place(tmp_path, 'iter_20.pth', 20, 2, meta=dict(iter=20, epoch=4))
    place(tmp_path, 'epoch_5.pth', 20, 1)
    assert newest_whole(tmp_path)[0].path.endswith('epoch_5.pth')


def test_a_number_has_no_fixed_length_and_content_goes_before_name(tmp_path):
    place(tmp_path, 'epoch_9.pth', 36)
    place(tmp_path, 'epoch_10.pth', 40)
    place(tmp_path, 'epoch_11.pth', 8)  # an old one under a new name
    assert newest_whole(tmp_path)[0].path.endswith('epoch_10.pth')


# ----------------------------------------------------------------------------------------------------------- the faults

FAULTS = {
    'cut off': lambda path: os.truncate(path, path.stat().st_size // 2),
    'end cut off': lambda path: os.truncate(path, path.stat().st_size - 1),
    'empty': lambda path: os.truncate(path, 0),
    'zeroed': lambda path: path.write_bytes(bytes(path.stat().st_size)),
    'end zeroed': lambda path: path.write_bytes(path.read_bytes()[:-600] + bytes(600)),
    'garbage': lambda path: path.write_bytes(os.urandom(5000)),
    'a folder': lambda path: (path.unlink(), path.mkdir()),
    'a dangling link': lambda path: (path.unlink(), path.symlink_to('nowhere.pth')),
}
PARTS = {
    'no meta': dict(meta=None),
    'no epoch': dict(meta=dict(iter=20)),
    'no weights': dict(state_dict=None),
    'no hub': dict(message_hub=None),
    'no optimizer': dict(optimizer=None),
    'no facts': dict(mmmim=None),
}
OURS = dict(default_hooks=dict(run_state=dict(type='RunStateHook')))


def damage(path, fault):
    if fault in FAULTS:
        FAULTS[fault](path)
    else:
        place(path.parent, path.name, 20, **PARTS[fault])


@pytest.mark.parametrize('fault', [*FAULTS, *PARTS])
def test_a_broken_one_is_passed_over_and_told(run, fault, capsys):
    damage(run / 'epoch_5.pth', fault)
    cfg = config(run, randomness=dict(seed=None), **OURS)
    found = find_resume(cfg)
    assert found.path == str(run / 'iter_18.pth') and fix_seed(cfg, found) == 18
    (line,) = capsys.readouterr().err.splitlines()
    assert f'passed over: {run / "epoch_5.pth"}: ' in line


def test_a_flipped_bit_is_passed_over(run):
    path = run / 'epoch_5.pth'
    content = bytearray(path.read_bytes())
    content[content.find(torch.full((64,), 20.0).numpy().tobytes()) + 2000] ^= 4
    path.write_bytes(content)
    assert newest_whole(run)[0].path == str(run / 'iter_18.pth')


@pytest.mark.parametrize('fault', FAULTS)
def test_a_glance_sees_it_too(run, fault):
    damage(run / 'epoch_5.pth', fault)
    path, passed_over = glance(run)
    assert path == str(run / 'iter_18.pth') and list(passed_over) == [str(run / 'epoch_5.pth')]


def test_another_toolbox_needs_what_mmengine_reads(run):
    damage(run / 'epoch_5.pth', 'no optimizer')
    assert newest_whole(run, parts=RESUMED_PARTS)[0].iter == find_resume(config(run)).iter == 20


def test_all_broken_is_an_error_that_lists_each(run):
    damage(run / 'epoch_5.pth', 'cut off')
    damage(run / 'iter_18.pth', 'empty')
    place(run, 'epoch_4.pth', 16, optimizer=None)
    with pytest.raises(NoWhole) as error:
        find_resume(config(run, **OURS))
    lines = [line for line in str(error.value).splitlines() if '.pth: ' in line]
    reasons = {os.path.basename(line.partition(': ')[0]): line.partition(': ')[2] for line in lines}
    assert list(reasons) == ['epoch_5.pth', 'iter_18.pth', 'epoch_4.pth']
    assert 'cut off' in reasons['epoch_5.pth'] and 'empty' in reasons['iter_18.pth']
    assert 'no optimizer' in reasons['epoch_4.pth']


@pytest.mark.parametrize('pointer', ['', '/a/disk/that/is/not/mounted/epoch_3.pth'])
def test_a_pointer_alone_is_an_error_too(tmp_path, pointer):
    (tmp_path / POINTER).write_text(pointer)
    with pytest.raises(NoWhole, match=pointer or 'last_checkpoint: it names no file'):
        find_resume(config(tmp_path))


def test_no_memory_is_not_the_fault_of_the_file(run, monkeypatch):
    def load_file(path):
        raise MemoryError

    monkeypatch.setattr('mmmim.checkpoint.newest.load_file', load_file)
    with pytest.raises(MemoryError):
        find_resume(config(run))


# ----------------------------------------------------------------------------------------------------- begin or go on


def test_without_checkpoints_a_run_begins(tmp_path):
    for folder in (tmp_path, tmp_path / 'none'):
        cfg = config(folder)
        cfg.load_from = 'weights.pth'
        assert find_resume(cfg, anew=False) is None and not cfg.resume and cfg.load_from == 'weights.pth'


def test_own_checkpoints_go_before_load_from_and_a_named_one_before_both(run):
    cfg = config(run)
    cfg.load_from = 'weights.pth'
    assert find_resume(cfg).path == str(run / 'epoch_5.pth') and cfg.load_from is None
    cfg.update(resume=True, load_from='/moved/epoch_4.pth')
    assert find_resume(cfg) is None and cfg.load_from == str(run / 'epoch_4.pth') and cfg.resume


@pytest.mark.parametrize('damaged', [False, True])
def test_beginning_over_checkpoints_has_to_be_asked_for(run, damaged):
    if damaged:
        (run / POINTER).write_text('')
        damage(run / 'epoch_5.pth', 'empty')
    cfg = config(run)
    cfg.resume = False
    with pytest.raises(StartOverError, match='--resume.*--anew.*--work-dir'):
        find_resume(cfg, anew=False)
    assert find_resume(cfg, anew=True) is None and not cfg.resume


def test_what_is_further_is_set_aside_and_never_lost(run):
    assert set_aside(str(run), 20, 5) is None
    assert set_aside(str(run), 17, 4) == str(run / 'earlier_1')
    assert sorted(os.listdir(run / 'earlier_1')) == ['epoch_5.pth', 'iter_18.pth']
    assert newest_whole(run)[0].path == str(run / 'epoch_4.pth')
    place(run, 'epoch_5.pth', 20)
    assert set_aside(str(run), 0, 0) == str(run / 'earlier_2')
    assert sorted(os.listdir(run / 'earlier_2')) == ['epoch_4.pth', 'epoch_5.pth']


def test_a_finished_run_whose_last_checkpoint_is_broken_goes_on(run):
    (run / 'run.json').write_text('{"finished": true}')
    (run / POINTER).write_text('')
    assert is_finished(str(run))
    damage(run / 'epoch_5.pth', 'cut off')
    assert not is_finished(str(run))
    for path in run.glob('*.pth'):  # removed, to save space
        path.unlink()
    assert is_finished(str(run))
