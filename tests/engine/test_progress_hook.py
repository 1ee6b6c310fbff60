"""Images a second in the log, and the bar on a terminal."""

import io
import json
import re

import pytest
from harness import largest_difference, load_weights, make_config, train_here

from mmmim import progress

pytestmark = pytest.mark.runs


def _config(work_dir, images, **overrides):
    return make_config(
        work_dir,
        images,
        epochs=2,
        **{'custom_imports.imports': ['mmmim'], 'experiment_name': f'{work_dir}', **overrides},
    )


def test_log_has_images_a_second_and_the_time_agrees(tmp_path, image_root, capsys, monkeypatch):
    monkeypatch.setenv('MMMIM_PROGRESS', 'off')
    train_here(_config(tmp_path / 'run', image_root))
    (path,) = (tmp_path / 'run').glob('2*/vis_data/scalars.json')
    records = [json.loads(line) for line in path.read_text().splitlines()]
    logged = [r for r in records if 'images_per_second' in r]
    assert len(logged) == len(records) == 4  # at iterations 3 and 4 of two epochs
    for record in logged:
        assert record['images_per_second'] == pytest.approx(16 / record['time'], rel=1e-3)
    captured = capsys.readouterr()
    assert 'images_per_second' in captured.out and captured.err == ''


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bar_on_a_terminal_shows_epoch_rate_loss_and_time_left(tmp_path, image_root, monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr('sys.stderr', terminal)
    monkeypatch.delenv('MMMIM_PROGRESS', raising=False)
    train_here(_config(tmp_path / 'run', image_root))
    last = terminal.getvalue().rstrip().split('\r')[-1]
    assert re.search(r'epoch 2/2: 100% \|.+\| 128/128 images, *[\d.k]+image/s, loss=\d\.\d+, 00:00 left', last), last
    (log,) = (tmp_path / 'run').glob('2*/*.log')
    assert 'Epoch(train)' not in capsys.readouterr().out  # the bar says it
    assert log.read_text().count('Epoch(train)') == 4  # and the file keeps it


def test_a_bar_changes_nothing_in_training(tmp_path, image_root, monkeypatch):
    monkeypatch.setattr('sys.stderr', Terminal())
    for mode in ('bar', 'off'):
        monkeypatch.setenv('MMMIM_PROGRESS', mode)
        train_here(_config(tmp_path / mode, image_root))
    assert largest_difference(load_weights(tmp_path / 'bar'), load_weights(tmp_path / 'off')) == 0


def test_plain_lines_where_asked_for(monkeypatch, capsys):
    monkeypatch.setenv('MMMIM_PROGRESS', 'lines')
    monkeypatch.setattr(progress, 'SECONDS_BETWEEN_LINES', 0)
    assert list(progress.track(['a', 'b', 'c', 'd'], 'reading', unit='file')) == ['a', 'b', 'c', 'd']
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(' files')[0] for line in lines] == [
        'reading  25%  1/4',
        'reading  50%  2/4',
        'reading  75%  3/4',
        'reading 100%  4/4',
    ]
    assert all(re.search(r'files/s, \d\d:\d\d left$', line) for line in lines)


def test_rate_of_a_resumed_run_leaves_out_what_was_done_before(monkeypatch):
    monkeypatch.setenv('MMMIM_PROGRESS', 'off')
    clock = [100.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: clock[0])
    counted = progress.Progress(1000, 'training', initial=600)
    clock[0] += 10
    counted.update(50)
    assert counted.rate == pytest.approx(5) and counted.done == 650


def test_unknown_mode_is_an_error(monkeypatch):
    monkeypatch.setenv('MMMIM_PROGRESS', 'fancy')
    with pytest.raises(ValueError, match='auto, bar, lines or off'):
        progress.mode()
