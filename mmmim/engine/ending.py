"""How a process ends that is one of several."""

import atexit
import os
import sys
from contextlib import contextmanager
from typing import Iterator

import torch.distributed as dist


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Around a tool's main function: where several processes ran together, each ends without taking Python down.

    A thread of the collective operations may still hold a tensor when its result is long there. If it lets go of the
    tensor while the interpreter is being taken down, the process aborts ("terminate called without an active
    exception"), and a launcher reports a failure although all was saved. ``destroy_process_group`` does not end these
    threads as long as a wrapped model refers to the group. So what the interpreter's end would do for the work is done
    here, and the rest is left out. The exit code is the same; a single process ends as usual, and so does one with an
    error that nobody expected.
    """
    status = 0
    try:
        yield
    except SystemExit as end:
        if not dist.is_initialized():
            raise
        status = end.code
    if not dist.is_initialized():
        return
    if status is None:
        status = 0
    elif not isinstance(status, int):  # a message, as sys.exit takes it
        print(status, file=sys.stderr)
        status = 1
    if status == 0:  # after an error another process may be waiting for this one
        dist.destroy_process_group()
    atexit._run_exitfuncs()  # also ends the loading workers
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # a closed pipe
            pass
    os._exit(status)
