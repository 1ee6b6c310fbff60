"""The command `mmmim`: pre-training, features and everyday scripts by one name, from any folder.

    mmmim pretrain --data PHOTOS --out WORK_DIR [--method mae] [--model vit-tiny] [key=value ...]
    mmmim embed --checkpoint CHECKPOINT --data PHOTOS --out features.npy
    mmmim doctor                             what works here, and what mends the rest
    mmmim train | test | report ARGUMENTS    tools/train.py, tools/test.py, tools/visualize/report.py

`mmmim COMMAND --help` says more. This module imports nothing but the standard library, so that `mmmim doctor` works
where nothing is installed yet.
"""

import argparse
import importlib.util
import os
import sys
from typing import Any, Dict, List, Optional

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = dict(doctor='doctor.py', train='train.py', test='test.py', report='visualize/report.py')


def main(argv: Optional[List[str]] = None) -> None:
    """Entry point of the console script; ends the process with the command's exit code."""
    argv = sys.argv[1:] if argv is None else argv
    command, rest = (argv[0], argv[1:]) if argv else ('--help', [])
    if command in SCRIPTS:
        run_script(SCRIPTS[command], rest)
    elif command == 'pretrain':
        run_pretrain(rest)
    elif command == 'embed':
        run_embed(rest)
    elif command in ('-h', '--help'):
        print(__doc__.strip())
    elif command == '--version':
        print(version())
    else:
        known = ', '.join(['pretrain', 'embed', *SCRIPTS])
        sys.exit(f'mmmim: there is no command {command!r}; there are {known}')


def run_script(script: str, arguments: List[str]) -> None:
    """Become a script of this folder, as if it had been called by its path."""
    if script != SCRIPTS['doctor'] and not all(map(importlib.util.find_spec, ('torch', 'mmengine'))):
        imported('mmmim', '__version__')  # says what is missing
    if script in ('train.py', 'test.py') and arguments:
        arguments = [find_config(arguments[0]), *arguments[1:]]
    os.execv(sys.executable, [sys.executable, os.path.join(HERE, script), *arguments])


def find_config(path: str) -> str:
    """A config by its path, or by its name among those that came with mmmim: ``mae/vit-b_800e.py``."""
    name = path[len('configs/') :] if path.startswith('configs/') else path
    folder = os.path.join(os.path.dirname(HERE), 'mmmim_configs' if HERE.endswith('mmmim_tools') else 'configs')
    ours = os.path.join(folder, name)
    return ours if not os.path.exists(path) and os.path.isfile(ours) else path


def version() -> str:
    from importlib.metadata import version

    return f'mmmim {version("mmmim")}'


def run_pretrain(argv: List[str]) -> None:
    parser = argparse.ArgumentParser(
        prog='mmmim pretrain',
        description='Pre-train on a folder of images; labels are not needed. The same command '
        'continues a run that was stopped.',
        usage='%(prog)s --data FOLDER --out FOLDER [options] [key=value ...]',
        epilog="key=value overrides any other setting of the run's config: total_batch_size=128 model.mask_ratio=0.6",
    )
    parser.add_argument('--data', required=True, metavar='FOLDER', help='images, flat or in folders')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='for config, checkpoints, logs and report')
    parser.add_argument('--method', default='mae', help='default: mae')
    parser.add_argument('--model', default='vit-tiny', help='vit-tiny (default), vit-small, vit-base, vit-large')
    parser.add_argument('--image-size', type=int, metavar='PIXELS', help='default: chosen from images and machine')
    parser.add_argument('--epochs', type=int, help='default: chosen from the number of images and the machine')
    parser.add_argument('--resume', action='store_true', help='continue a stopped run (done without this option too)')
    args, pairs = parse(parser, argv)
    options = vars(args)
    options.pop('resume')
    # on a CPU, threads that spin for long while they wait starve the loading workers; read when torch is imported
    os.environ.setdefault('GOMP_SPINCOUNT', '20000')
    call('pretrain', {**overrides(parser, pairs, options), **options})


def run_embed(argv: List[str]) -> None:
    parser = argparse.ArgumentParser(
        prog='mmmim embed',
        description='Write one feature vector for each image of a folder, and the file names '
        'beside it (features.txt for features.npy).',
    )
    parser.add_argument('--checkpoint', required=True, help='of a run, an exported encoder, or another ViT')
    parser.add_argument('--data', required=True, metavar='FOLDER', help='images, flat or in folders')
    parser.add_argument('--out', default='features.npy', help='default: features.npy')
    parser.add_argument(
        '--pool', default='mean', choices=['mean', 'cls'], help='mean of the patch tokens (default), or the class token'
    )
    parser.add_argument('--batch-size', type=int, default=128, help='images at once (default: 128)')
    parser.add_argument('--config', help='of the checkpoint, where it is not inside it')
    call('embed', vars(parser.parse_args(argv)))


def parse(parser: argparse.ArgumentParser, argv: List[str]) -> tuple:
    """Options anywhere, and ``key=value`` anywhere between them (argparse itself would want these in one place)."""
    args, rest = parser.parse_known_args(argv)
    pairs = [word for word in rest if word != '--cfg-options']
    wrong = [word for word in pairs if word.startswith('-') or '=' not in word]
    if wrong:
        parser.error(f'{wrong[0]} is neither an option nor key=value')
    return args, pairs


def overrides(parser: argparse.ArgumentParser, pairs: List[str], options: Dict[str, Any]) -> Dict[str, Any]:
    """``key=value`` words with values as ``--cfg-options`` reads them: numbers, booleans, None, lists."""
    if not pairs:
        return {}
    DictAction = imported('mmengine.config', 'DictAction')
    reader = argparse.ArgumentParser()
    reader.add_argument('--cfg-options', nargs='+', action=DictAction)
    found = reader.parse_args(['--cfg-options', *pairs]).cfg_options
    twice = [key for key in found if key in options]
    if twice:
        parser.error(f'{twice[0]} is an option: --{twice[0].replace("_", "-")} {found[twice[0]]}')
    return found


def imported(module: str, name: str) -> Any:
    """Something of mmmim's or of what it needs; where that is missing, one line says what to do."""
    try:
        importlib.import_module('mmmim')  # the first, because its message names all that is missing
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        if os.environ.get('MMMIM_TRACEBACK'):
            raise
        sys.exit(str(error))


def call(name: str, options: Dict[str, Any]) -> None:
    """Call a function of ``mmmim.apis``; what a user can mend ends in one line."""
    function = imported('mmmim.apis', name)
    from mmmim.engine.launch import USER_ERRORS, end_with
    from mmmim.engine.malloc import keep_freed_memory

    keep_freed_memory()
    try:
        function(**options)
    except KeyboardInterrupt as stopped:
        code = getattr(stopped.__cause__, 'code', None)
        print(stopped, file=sys.stderr)
        sys.exit(code if isinstance(code, int) else 130)
    except USER_ERRORS as error:
        end_with(error, None)


if __name__ == '__main__':
    main()
