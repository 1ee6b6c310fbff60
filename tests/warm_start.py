"""Programs that start in 0.1 s: forked from a process that has imported torch, MMEngine and mmmim once.

Most tests of whole runs would spend their time importing. What a test starts here is a process of its own, in a session
of its own, with its own environment, working directory and output, that can be killed like any other. What it does not
test is a fresh interpreter's imports: tools/train.py, tools/test.py and the launcher of several processes are also
started as a person starts them, by tests with ``fresh=True`` and those of the quickstart.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from pathlib import Path
from typing import Any, Dict, List, NoReturn, Optional, Sequence, Tuple

import numpy
import torch

Ended = Tuple[int, str, str]  # exit code, stdout, stderr


class Server:
    """The process that is forked from, started when it is first used; one for each set of toolboxes."""

    _running: Dict[str, 'Server'] = {}

    def __init__(self, toolboxes: Sequence[str]) -> None:
        # asking CUDA itself whether there is a GPU would leave it unusable in forked processes
        env = dict(os.environ, OMP_NUM_THREADS='1', GOMP_SPINCOUNT='20000', PYTORCH_NVML_BASED_CUDA_CHECK='1')
        self.process = subprocess.Popen(
            [sys.executable, __file__, *toolboxes], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    @classmethod
    def of(cls, toolbox: str = '') -> 'Server':
        server = cls._running.get(toolbox)
        if server is None or server.process.poll() is not None:
            server = cls._running[toolbox] = cls([toolbox] if toolbox else [])
        return server

    def run(self, argv: List[str], env: Dict[str, str], cwd: Path, processes: int, timeout: float) -> Ended:
        with tempfile.TemporaryDirectory() as folder:
            request = dict(argv=argv, env=env, cwd=str(cwd), processes=processes, timeout=timeout, folder=folder)
            code = self._ask(request)
            out, err = ((Path(folder) / name).read_text(errors='replace') for name in ('out', 'err'))
        if code is None:
            raise subprocess.TimeoutExpired(argv, timeout, out, err)
        return code, out, err

    def _ask(self, request: dict) -> Optional[int]:
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(request) + '\n')
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BaseException:  # of a test that was stopped: the answer would be taken for that to the next one
            self.process.terminate()  # with its program
            raise
        if not answer:
            raise RuntimeError(f'the process that programs are forked from ended with {self.process.wait()}')
        return json.loads(answer)


def run(
    argv: List[str],
    env: Dict[str, str],
    cwd: Path,
    processes: int = 1,
    timeout: float = 300,
    toolbox: str = '',
) -> subprocess.CompletedProcess:
    """Like ``subprocess.run([sys.executable, *argv], capture_output=True, text=True, start_new_session=True)``.

    Args:
        argv: A script, or ``-c`` and code, or ``-m`` and a module; and arguments.
        processes: With several, each has the variables that torchrun gives, and what they end with is 1 if one fails.
        toolbox: One to be imported beforehand, such as ``mmpretrain``.
    """
    return subprocess.CompletedProcess(argv, *Server.of(toolbox).run(argv, env, cwd, processes, timeout))


# ---- the server ----


def serve(toolboxes: Sequence[str]) -> bool:
    """Fork a program for each line of stdin and write what it ended with; True in a process that is to be a program."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # on the way out the program that runs is killed
    answers = os.dup(1)
    os.dup2(2, 1)  # libraries that print while they are imported
    import matplotlib.figure  # noqa: F401  (MMEngine's visualizer)
    import mmengine.config.config
    import setuptools  # noqa: F401  (MMEngine's report of the environment)

    # the text of a config is laid out several times a run, for half a second; without that it is Python just as well
    mmengine.config.config.FormatCode = lambda text, **kwargs: (text, True)
    import mmmim.engine.launch  # noqa: F401
    import mmmim.engine.processes  # noqa: F401
    import mmmim.evaluation  # noqa: F401
    from mmmim.deferred import leave_out_multimodal
    from mmmim.models.mmcv_ops import provide_ops

    leave_out_multimodal()
    provide_ops()
    for toolbox in toolboxes:
        importlib.import_module(f'{toolbox}.utils').register_all_modules(init_default_scope=False)
        if toolbox == 'mmdet':
            import mmmim.models.mmdet_parts  # noqa: F401
    gc.collect()
    gc.freeze()  # what the collector does not visit is not copied
    with open(os.dup(0), 'rb', buffering=0) as requests:
        for line in iter(requests.readline, b''):
            request = json.loads(line)
            program = os.fork()
            if not program:
                os.setsid()
                become(request)
                return True
            os.write(answers, (json.dumps(wait(program, request['timeout'])) + '\n').encode())
    return False


def wait(program: int, timeout: float) -> Optional[int]:
    """Its exit code, negative for a signal; None where it had to be killed after so many seconds.

    What it has left running is killed.
    """
    end = time.monotonic() + timeout
    try:
        while time.monotonic() < end:
            pid, status = os.waitpid(program, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(program, 0)


def become(request: dict) -> None:
    """Turn this process into what was asked for, or, with several processes, into their launcher."""
    for number, name in enumerate(('out', 'err'), 1):
        os.dup2(os.open(os.path.join(request['folder'], name), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    random.seed()  # what nobody seeds differs between programs
    numpy.random.seed()
    torch.seed()
    os.chdir(request['cwd'])
    os.environ.clear()
    os.environ.update(request['env'])
    sys.argv = request['argv']
    sys.path[0] = '' if sys.argv[0] in ('-c', '-m') else os.path.dirname(sys.argv[0])
    sys.path[1:1] = filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))
    if request['processes'] > 1:
        launch(request['processes'])


def launch(count: int) -> None:
    """Fork the processes of a distributed run; the launcher ends with 1 if one of them does not end with 0."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    os.environ.update(
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count)
    )
    ranks = []
    for rank in range(count):
        ranks.append(os.fork())
        if not ranks[-1]:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            sys.argv += ['--launcher', 'pytorch']
            return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # to a group: the processes save, and end by themselves
    os._exit(_wait_for_all(ranks))


def _wait_for_all(ranks: List[int]) -> int:
    failed = False
    while ranks:
        pid, status = os.wait()
        ranks.remove(pid)
        if status and not failed:
            failed = True
            for other in ranks:
                os.kill(other, signal.SIGTERM)
    return int(failed)


def run_to_the_end() -> NoReturn:
    """Run what ``sys.argv`` names, and end as Python does, but free no objects: that copies memory that forks share."""
    code: Any = 1
    try:
        if sys.argv[0] == '-c':
            source = sys.argv.pop(1)
            main = sys.modules['__main__'] = types.ModuleType('__main__')
            exec(compile(source, '<string>', 'exec'), vars(main))
        elif sys.argv[0] == '-m':
            runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name='__main__')
        code = 0
    except SystemExit as error:
        code = 0 if error.code is None else error.code
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == '__main__':
    if serve(sys.argv[1:]):
        run_to_the_end()
