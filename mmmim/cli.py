"""The command `mmmim`, for all jobs and from any folder.

    mmmim pretrain --data PHOTOS --out RUN [--model SIZE | timm:NAME | FILE | RUN] [--labels LABELS] [key=value ...]
    mmmim finetune --data LABELLED --out MODEL [--model RUN | FILE | timm:NAME]    a classifier, segmentor or detector
    mmmim compare RUN ... [--starts random,timm:NAME] [--labels LABELS]    which features are better, and how sure
    mmmim embed --model RUN | FILE | timm:NAME --data PHOTOS --out features.npy
    mmmim train CONFIG          train what a config describes: mae/vit-b_800e.py, or a file of your own
    mmmim test CONFIG [FILE]    measure a checkpoint
    mmmim report DIR ...        one HTML page of one or more runs
    mmmim reconstruct | features CHECKPOINT IMAGE ...    pictures of what a model reconstructs, of what an encoder sees
    mmmim predict --model RUN --data PHOTOS --out FOLDER    classes, masks or boxes of any number of images
    mmmim export --model RUN | FILE | timm:NAME --out model.onnx    a model for onnxruntime, with how it is used
    mmmim convert IN OUT        a checkpoint with the names of another project
    mmmim shards FOLDER OUT     a folder of images as a few large files
    mmmim doctor                what works here, and the commands that fix the rest

`mmmim COMMAND --help` says more. This module imports nothing but the standard library, so that `mmmim doctor` works
where nothing is installed yet.
"""

import importlib
import os
import sys
from types import ModuleType
from typing import List, Optional

COMMANDS = (
    'pretrain',
    'finetune',
    'compare',
    'embed',
    'train',
    'test',
    'report',
    'reconstruct',
    'features',
    'predict',
    'convert',
    'export',
    'shards',
)

# whose --device is what torch gets to see; `compare` gives its own to what it loads
ON_ONE_DEVICE = ('pretrain', 'finetune', 'embed', 'predict', 'train', 'test')


def main(argv: Optional[List[str]] = None) -> None:
    """Entry point; ends the process with the command's exit code."""
    argv = sys.argv[1:] if argv is None else argv
    command, rest = (argv[0], argv[1:]) if argv else ('--help', [])
    if command in COMMANDS:
        run(command, rest)
    elif command == 'doctor':
        from .doctor.examination import examine

        sys.exit(examine(rest))
    elif command in ('-h', '--help'):
        print((__doc__ or '').strip())
    elif command == '--version':
        from .version import __version__

        print(f'mmmim {__version__}')
    else:
        print(f'mmmim: there is no command {command!r}; there are {", ".join([*COMMANDS, "doctor"])}', file=sys.stderr)
        sys.exit(2)


def run(command: str, argv: List[str]) -> None:
    """Run a command of :mod:`mmmim.commands`; errors that a user can fix are one line, without a traceback."""
    # on a CPU, idle threads that busy-wait starve the data loading workers; read when torch is imported
    os.environ.setdefault('GOMP_SPINCOUNT', '20000')
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):  # not where something else collects the output
            stream.reconfigure(errors='backslashreplace')  # names of files are not always UTF-8
    if command in ON_ONE_DEVICE:
        choose_device(argv)
    try:
        module = imported(command)
        from .engine.launch import USER_ERRORS, end_with

        try:
            module.main(argv)
        except (*USER_ERRORS, OSError) as error:
            end_with(error, None)
    except KeyboardInterrupt as stopped:
        if str(stopped):
            print(stopped, file=sys.stderr)
        code = getattr(stopped.__cause__, 'code', None)
        sys.exit(code if isinstance(code, int) else 130)


def choose_device(argv: List[str]) -> None:
    """Let torch see the device of ``--device`` (or ``--cpu``) alone: CUDA reads this once, when it starts."""
    options = [words.partition('=')[::2] for words in argv]
    values = [value or ''.join(argv[i + 1 : i + 2]) for i, (name, value) in enumerate(options) if name == '--device']
    kind, _, number = values[-1].partition(':') if values else ('', '', '')
    if kind == 'cpu' or '--cpu' in argv:
        os.environ.update(CUDA_VISIBLE_DEVICES='', MMMIM_CPU='1')
    elif kind == 'cuda' and number.isdigit():
        visible = os.environ.get('CUDA_VISIBLE_DEVICES')
        names = number if visible is None else ','.join(visible.split(',')[int(number) : int(number) + 1])
        os.environ['CUDA_VISIBLE_DEVICES'] = names


def imported(command: str) -> ModuleType:
    """The module of a command, after everything was registered; one line says what is missing."""
    try:
        importlib.import_module('mmmim').register_all()
        return importlib.import_module(f'mmmim.commands.{command}')
    except ImportError as error:
        if os.environ.get('MMMIM_TRACEBACK'):
            raise
        sys.exit(str(error))
