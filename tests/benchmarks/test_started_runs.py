"""Runs that a tool finds again: the same goes on, another is refused; what counts is what was measured at the end."""

import json

import pytest

from started_runs import STARTED, claim, last_measured, read_config, start_text


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text('max_epochs = 2\nlr = 0.1\nmodel = dict(depth=3)\n')
    return path


@pytest.fixture
def work_dir(tmp_path, config):
    """A run that was started with a depth of 4, and has saved a checkpoint."""
    folder = tmp_path / 'run'
    assert claim(str(folder), start(config), '--out')
    (folder / 'last_checkpoint').touch()
    return folder


def start(config, *options, minutes=2.0):
    return start_text(str(config), options or ['model.depth=4'], minutes=minutes)


def test_the_same_goes_on_however_it_is_written(work_dir, config):
    assert not claim(str(work_dir), start(config), '--out')
    assert not claim(str(work_dir), start(config, 'model.depth=4', 'lr=1e-1'), '--out')
    assert not claim(str(work_dir), start(config.parent / '..' / config.parent.name / config.name), '--out')


@pytest.mark.parametrize(
    'options, minutes', [(['model.depth=5'], 2.0), (['model.depth=4', 'lr=1'], 2.0), (['model.depth=4'], 1.0)]
)
@pytest.mark.parametrize('finished', [True, False])
def test_another_is_refused_and_both_are_named(work_dir, config, options, minutes, finished):
    if finished:  # its checkpoints may be gone
        (work_dir / 'last_checkpoint').unlink()
        (work_dir / 'run.json').write_text('{"finished": true}')
    kept = (work_dir / STARTED).read_text()
    with pytest.raises(ValueError) as error:
        claim(str(work_dir), start(config, *options, minutes=minutes), '--out')
    told = str(error.value)
    assert f'started with\n  {config} model.depth=4 minutes=2.0\n' in told and 'another folder (--out)' in told
    assert f'start it with\n  {config} {" ".join(options)} minutes={minutes}\n' in told
    assert (work_dir / STARTED).read_text() == kept


def test_a_config_that_was_edited_is_another_one(work_dir, config):
    config.write_text(config.read_text().replace('0.1', '0.2'))
    with pytest.raises(ValueError, match=r'edited between them .*\n  -lr = 0.1\n  \+lr = 0.2\n'):
        claim(str(work_dir), start(config), '--out')


def test_a_run_of_which_it_is_not_known_is_refused(work_dir, config):
    (work_dir / STARTED).unlink()
    with pytest.raises(ValueError, match='what is not known'):
        claim(str(work_dir), start(config), '--out')


def test_a_run_that_has_saved_nothing_begins_anew_with_anything(work_dir, config):
    (work_dir / 'last_checkpoint').unlink()
    (work_dir / 'run.json').write_text('{"finished": false}')
    assert claim(str(work_dir), start(config, 'model.depth=5'), '--out')
    assert (work_dir / STARTED).read_text() == start(config, 'model.depth=5')


def test_options_are_read_as_on_the_command_line(config):
    cfg = read_config(str(config), ['lr=1e-3', 'max_epochs=4', 'max_epochs=5', 'model.names=[a,b]', 'work_dir=x=y'])
    assert (cfg.lr, cfg.max_epochs, cfg.model.names, cfg.work_dir) == (1e-3, 5, ['a', 'b'], 'x=y')
    with pytest.raises(ValueError, match="'lr': KEY=VALUE"):
        read_config(str(config), ['lr'])


@pytest.mark.parametrize('iters, expected', [([4, 8], 80.0), ([8, 4], 80.0), ([4], None), ([], None)])
def test_only_what_was_measured_at_the_last_iteration_counts(tmp_path, iters, expected):
    assert last_measured(str(tmp_path), 'accuracy/top1') is None
    (tmp_path / 'run.json').write_text('{"max_iters": 8, "finished": true}')
    lines = [dict(iter=i, epoch=1, loss=1.0) for i in range(1, 9)] + [
        {'iter': i, 'epoch': 1, 'accuracy/top1': 10.0 * i} for i in iters
    ]
    (tmp_path / 'curve.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    assert last_measured(str(tmp_path), 'accuracy/top1') == expected
