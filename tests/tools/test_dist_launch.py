"""What tools/dist_launch.sh makes of ports and interpreters, with an imitation of torchrun."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
from harness import ROOT

# answers as Python does, but prints how torchrun would have been called
PYTHON = r"""#!{bash}
case "$*" in '-m torch.distributed.run'*) echo "torchrun $*";; *) exec '{python}' "$@";; esac
"""


def _launch(tmp_path, *args, python=sys.executable, **variables):
    imitation = tmp_path / 'python'
    imitation.write_text(PYTHON.format(bash=shutil.which('bash'), python=python))
    imitation.chmod(0o755)
    env = {key: value for key, value in os.environ.items() if key not in ('PORT', 'NNODES', 'NODE_RANK')}
    return subprocess.run(
        ['bash', str(ROOT / 'tools/dist_train.sh'), *(args or ('config.py', '2'))],
        text=True,
        capture_output=True,
        timeout=60,
        env={**env, 'PYTHON': str(imitation), **variables},
    )


@pytest.fixture(params=['127.0.0.1', '0.0.0.0', '::'])
def busy(request):
    """A port that another process listens on, as torchrun does (on all addresses) or on one."""
    family = socket.AF_INET6 if ':' in request.param else socket.AF_INET
    try:
        with socket.create_server((request.param, 0), family=family) as server:
            yield str(server.getsockname()[1])
    except OSError:
        pytest.skip(f'this machine has no address {request.param}')


def test_one_node_takes_a_free_port_by_itself(tmp_path):
    done = _launch(tmp_path)
    assert done.returncode == 0 and '--standalone' in done.stdout and '--master_port' not in done.stdout


def test_it_says_so_where_the_usual_port_is_taken(tmp_path):
    try:
        server = socket.create_server(('', 29500))
    except OSError:
        server = None  # taken already: as good
    done = _launch(tmp_path)
    assert done.returncode == 0 and '--standalone' in done.stdout
    assert 'port 29500 is in use' in done.stderr and 'takes a free port' in done.stderr
    if server:
        server.close()


def test_a_port_that_is_asked_for_and_taken_is_an_error_that_names_a_free_one(tmp_path, busy):
    done = _launch(tmp_path, PORT=busy)
    assert done.returncode == 2 and 'torchrun' not in done.stdout
    assert len(done.stderr.splitlines()) == 1 and f'port {busy} cannot be used' in done.stderr
    free = done.stderr.rsplit('PORT=', 1)[1].strip()
    again = _launch(tmp_path, PORT=free)
    assert again.returncode == 0 and f'--master_port={free}' in again.stdout


def test_the_first_node_checks_its_port_and_the_others_do_not(tmp_path, busy):
    done = _launch(tmp_path, PORT=busy, NNODES='2', NODE_RANK='0')
    assert done.returncode == 2 and 'on every node' in done.stderr
    done = _launch(tmp_path, PORT=busy, NNODES='2', NODE_RANK='1', MASTER_ADDR='first')
    assert done.returncode == 0
    assert f'--master_addr=first --master_port={busy} --node_rank=1' in done.stdout


@pytest.mark.parametrize('port', ['0', 'abc', '65536', '12345678901234567890'])
def test_a_port_that_is_none(tmp_path, port):
    done = _launch(tmp_path, PORT=port)
    assert done.returncode == 2 and f"PORT='{port}' must be a number" in done.stderr


def test_a_python_that_is_absent_or_without_torch(tmp_path):
    assert "there is no '/no/python'" in _launch(tmp_path, PYTHON='/no/python').stderr
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(tmp_path / 'bare')], check=True)
    done = _launch(tmp_path, python=tmp_path / 'bare/bin/python', PYTHONPATH='')
    assert done.returncode == 2 and 'torch is not installed' in done.stderr and 'doctor.py' in done.stderr
