"""Running probes: each in a process group of its own, a few at a time, with a time limit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Dict, Optional, Set

from . import place

PROBES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'probes.py')

Answer = Dict[str, Any]  # 'ok' and what the probe says; else 'error' (one line), 'kind' and 'trace'


class Crew:
    """A pool that runs probes; ``close()`` ends those that are still at work."""

    def __init__(self, size: int, report: Optional[Callable[[str], None]] = None) -> None:
        self.pool = ThreadPoolExecutor(size)
        self.report = report or (lambda name: None)
        self.alive: Set[subprocess.Popen] = set()
        self.lock = threading.Lock()
        self.closed = False

    def start(self, probe: str, timeout: float, **context: Any) -> 'Future[Answer]':
        """Run a probe as soon as there is room."""
        return self.pool.submit(self.run, probe, timeout, **context)

    def run(self, probe: str, timeout: float, **context: Any) -> Answer:
        """Run a probe in this thread and return its answer, whatever becomes of its process."""
        try:
            return self._run(probe, timeout, **context)
        except OSError as error:  # a full disk, no more processes
            return dict(ok=False, kind='OSError', error=f'could not be tried: {error}', trace='')
        finally:
            self.report(probe)

    def _run(self, probe: str, timeout: float, **context: Any) -> Answer:
        with tempfile.TemporaryDirectory(prefix='mmmim_doctor_', ignore_cleanup_errors=True) as folder:
            context = dict(context, folder=folder, timeout=timeout, configs=place.CONFIGS, checkout=place.CHECKOUT)
            answer_path, words_path = os.path.join(folder, 'answer.json'), os.path.join(folder, 'words.txt')
            command = [sys.executable, PROBES, probe, answer_path, json.dumps(context)]
            with open(words_path, 'wb') as words:
                with self.lock:
                    if self.closed:
                        return dict(ok=False, error='not tried: the examination was stopped', kind='stopped', trace='')
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=words,
                        stderr=words,
                        cwd=folder,
                        env=environment(folder),
                        start_new_session=True,
                    )
                    self.alive.add(process)
                answer = self._wait(process, timeout)
            with open(words_path, encoding='utf-8', errors='replace') as words:
                said = words.read()
            if answer is None:
                answer = read_answer(answer_path) or ended(process.returncode, folder)
            if not answer['ok']:
                answer['trace'] = (answer.get('trace', '') + '\n' + said[-6000:]).strip()
            return answer

    def _wait(self, process: subprocess.Popen, timeout: float) -> Optional[Answer]:
        try:
            process.wait(timeout)
            return None
        except subprocess.TimeoutExpired:
            return dict(ok=False, kind='hang', error=f'no answer within {timeout:.0f} s')
        finally:
            end_group(process)  # also what it left running
            process.wait()
            with self.lock:
                self.alive.discard(process)

    def close(self) -> None:
        with self.lock:
            self.closed = True
            for process in self.alive:
                end_group(process)
        self.pool.shutdown()


def environment(folder: str) -> Dict[str, str]:
    """The user's, with its paths made absolute, and without anything that turns a probe into part of a larger run."""
    env = dict(os.environ, TORCHINDUCTOR_CACHE_DIR=os.path.join(folder, 'inductor'), PYTHONFAULTHANDLER='1')
    env.setdefault('OMP_NUM_THREADS', '1')  # tiny models gain nothing from threads, and several run at once
    if env.get('PYTHONPATH'):
        env['PYTHONPATH'] = os.pathsep.join(
            os.path.abspath(path or '.') for path in env['PYTHONPATH'].split(os.pathsep)
        )
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        env.pop(name, None)
    return env


def end_group(process: subprocess.Popen) -> None:
    """Kill a process with all that it started; it leads its own group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def read_answer(path: str) -> Optional[Answer]:
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (OSError, ValueError):  # it ended before it could answer
        return None


def ended(code: int, folder: str) -> Answer:
    """The answer of a process that gave none."""
    if shutil.disk_usage(folder).free < 2**16:
        return dict(ok=False, kind='OSError', error=f'No space left on device: {os.path.dirname(folder)}')
    if code >= 0:
        return dict(ok=False, kind='exit', error=f'its process ended with {code} and no answer')
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f'signal {-code}'
    return dict(ok=False, kind=name, error=f'its process was ended by {name}')
