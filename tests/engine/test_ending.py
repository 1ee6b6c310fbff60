"""Processes that ran together end without an abort, with their exit code, and with all that they wrote."""

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.runs

# a thread that is inside torch when the interpreter is taken down, as those of the collective operations may be
SCRIPT = """
import atexit, sys, threading
import torch, torch.distributed as dist
from mmmim.engine.processes import ending_at_once

def work():
    numbers = torch.randn(100)
    while True:
        numbers + numbers

atexit.register(print, 'at the end')
if {together}:
    dist.init_process_group('gloo', init_method='file://{path}', rank=0, world_size=1)
threading.Thread(target=work, daemon=True).start()
with ending_at_once():
    print('some output')
    {end}
"""


def run(tmp_path, end='', together=True):
    code = SCRIPT.format(end=end, together=together, path=tmp_path / 'store')
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    'end, status, message',
    [('', 0, ''), ('sys.exit()', 0, ''), ('sys.exit(75)', 75, ''), ('sys.exit("what is wrong")', 1, 'what is wrong\n')],
)
def test_processes_together_end_without_an_abort(tmp_path, end, status, message):
    done = run(tmp_path, end)
    assert done.returncode == status, done.stderr[-2000:]
    assert done.stdout == 'some output\nat the end\n'
    assert done.stderr.endswith(message) and 'terminate called' not in done.stderr


def test_one_process_ends_as_usual(tmp_path):
    """The same thread aborts it, otherwise the test above shows nothing (torch may learn to end such threads)."""
    done = run(tmp_path, together=False)
    assert done.returncode in (0, -signal.SIGABRT)
    assert done.stdout == 'some output\nat the end\n'


def test_an_error_that_nobody_expected_is_told_in_full(tmp_path):
    done = run(tmp_path, 'raise ZeroDivisionError("in the middle")')
    assert done.returncode and 'Traceback' in done.stderr and 'in the middle' in done.stderr
