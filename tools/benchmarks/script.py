"""What the benchmark scripts share: options, results as JSON with what they were measured on, errors in one line."""

import argparse
import json
import os
import shlex
import sys
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional

import torch

from mmmim.checkpoint import atomic_write_text
from mmmim.engine.hardware import hardware, versions
from mmmim.engine.launch import USER_ERRORS, end_with

DTYPES = ('bfloat16', 'float32')
Result = Dict[str, Any]
Measure = Callable[[argparse.Namespace], Optional[Result]]


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser that prints a script's docstring as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_out(parser: argparse.ArgumentParser) -> None:
    """``--out``, for :func:`run`."""
    parser.add_argument('--out', help='write everything that was measured to this JSON file')


def add_device(parser: argparse.ArgumentParser, default: Optional[str] = None) -> None:
    """``--device``; by default the GPU where there is one."""

    def device(name: str) -> str:
        if name == 'cuda' and not torch.cuda.is_available():
            raise argparse.ArgumentTypeError('torch finds no GPU here')
        return name

    default = default or ('cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--device', type=device, choices=['cuda', 'cpu'], default=default)


def at_least(smallest: int) -> Callable[[str], int]:
    """The type of an option: a whole number that is not smaller."""

    def whole_number(text: str) -> int:
        if int(text) < smallest:
            raise argparse.ArgumentTypeError(f'must be at least {smallest}')
        return int(text)

    return whole_number


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the program with a line for what a user can mend, and with a shell's exit code for Ctrl-C."""
    try:
        yield
    except USER_ERRORS as error:
        end_with(error, None)
    except KeyboardInterrupt:
        sys.exit(130)


def run(args: argparse.Namespace, measure: Measure, show: Callable[[Result], None]) -> None:
    """Measure, print, and write a result, if there is one, to ``args.out``.

    With it stand the options, the command and what it was run on.
    """
    with errors_in_one_line():
        if args.out:
            os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
        measured = measure(args)
    if measured is None:
        return
    result = dict(
        command=' '.join(map(shlex.quote, ['python', *sys.argv])),
        threads=torch.get_num_threads(),
        hardware=hardware(),
        versions=versions('transformers', 'lightly'),
        **{**vars(args), **measured},
    )
    show(result)
    if args.out:
        atomic_write_text(args.out, json.dumps(result, indent=1))


def processor(result: Result) -> str:
    """The GPU or the CPU that a result is of, in words."""
    machine = result['hardware']
    return machine['gpu'] if result['device'] == 'cuda' else f'{machine["cpu"]}, {result["threads"]} threads'
