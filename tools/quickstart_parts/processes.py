"""What the quickstart starts, and how it is stopped and continued."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

from mmmim.progress import mode

ROOT = Path(__file__).resolve().parents[2]
EXIT_ASKED_TO_STOP = 75  # of tools/train.py, after it has saved
SECONDS_TO_END = 10.0  # that a process which was stopped may take


def say(message: str) -> None:
    print(f'[quickstart] {message}', flush=True)


class Tools:
    """Runs our tools as processes of their own: their progress is shown, what they print goes to a log file.

    Args:
        log: The file; its folder is the work dir.

    Raises:
        RuntimeError: Another quickstart is at work there.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self.lock = _claim(log.parent / '.quickstart.lock')
        self.process: Optional[subprocess.Popen] = None
        self.stopped_by = 0
        self.starting = False  # or running: then a signal is handed on, as soon as there is a process
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._stop)

    def _stop(self, signum: int, frame: object) -> None:
        again, self.stopped_by = self.stopped_by, signum
        if again or not self.starting:
            say('stopped; the same command continues')
            sys.exit(128 + signum)
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)  # which training answers by saving

    def run(self, *arguments: str) -> None:
        """Run ``python ARGUMENTS``; ends this process if it fails or is stopped."""
        # plain lines where there is no terminal, so that a log of this script shows how far it is
        environment = {**os.environ, 'MMMIM_PROGRESS': 'lines' if mode() == 'off' else mode()}
        with open(self.log, 'a') as log:
            start = log.tell()
            # a session of its own: Ctrl-C reaches this process alone, which hands it on as a request to save
            self.starting, self.process = True, None
            self.process = subprocess.Popen(
                [sys.executable, '-W', 'ignore', *arguments],
                cwd=ROOT,
                stdout=log,
                env=environment,
                start_new_session=True,
                pass_fds=(self.lock,),
            )
            os.pwrite(self.lock, f'{self.process.pid}\n'.encode(), 0)
            if self.stopped_by:  # while it was being started
                self.process.send_signal(signal.SIGTERM)
            code = self.process.wait()
            self.starting = False
        if self.stopped_by:
            say('stopped' + (' and saved' if code == EXIT_ASKED_TO_STOP else '') + '; the same command continues')
            sys.exit(128 + self.stopped_by)
        if code:
            with open(self.log, errors='replace') as log:
                log.seek(start)
                sys.stderr.write(''.join(log.readlines()[-15:]))
            sys.exit(f'[quickstart] {arguments[0]} ended with exit code {code}; everything it printed is in {self.log}')


def _claim(path: Path) -> int:
    """An open file that is locked; what this process starts holds the lock, too, and outlives it after a ``kill -9``.

    Two of them in one work dir would write over each other's checkpoints.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + SECONDS_TO_END
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except OSError:
            if time.monotonic() > deadline:
                worker = os.pread(lock, 20, 0).decode(errors='replace').strip()
                end = f' (kill {worker} makes it save and end)' if worker else ''
                raise RuntimeError(
                    f'an earlier start of this command is at work in {path.parent}{end}: the same '
                    'command continues once it has ended'
                ) from None
        time.sleep(0.2)
