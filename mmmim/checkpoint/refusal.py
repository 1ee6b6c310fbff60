"""Says what a file is that is refused: by its first bytes, or by the names in its pickle. And what to do about it."""

import json
import os
import os.path as osp
import pickletools
import re
import zipfile
from typing import IO, Any, Dict, List, Optional, Set

from .unpickler import NAMES


class UnsafeCheckpointError(RuntimeError):
    """The file uses functions or classes that weights do not need."""


class CorruptCheckpointError(RuntimeError):
    """The file is empty, truncated, damaged, or no checkpoint at all."""


_ANEW = (
    "save the weights alone with the program that wrote it: torch.save(model.state_dict(), 'weights.pth'), or as "
    'safetensors'
)
_ONE_FILE = 'python -m torch.distributed.checkpoint.format_utils dcp_to_torch'

TORCHSCRIPT = 'a TorchScript archive, which holds code'

# (names in a pickle, what it is, what to do); the first that fits
_PICKLES = [
    (
        r'torch\.distributed\.|.*(ShardedTensor|DTensor|FlatParameter)\b',
        'a part of a sharded checkpoint: each process has written its own',
        f'with the program that wrote it, save one file: of a folder by `{_ONE_FILE} FOLDER OUT.pth`, of FSDP with '
        'StateDictOptions(full_state_dict=True)',
    ),
    (
        r'deepspeed\.',
        'a part of a DeepSpeed checkpoint',
        '`python zero_to_fp32.py . OUT` in its folder writes one file',
    ),
    (r'torch\.nn\.modules\.', 'a whole pickled model (torch.save(model)), which is code', _ANEW),
    (r'sklearn\.|joblib\.', 'a pickle of scikit-learn or joblib, not of torch', 'give a checkpoint with weights'),
    (
        r'torch\.utils\.data|torchvision\.datasets|PIL\.|pandas\.',
        'a pickled data set',
        'give a checkpoint with weights',
    ),
    (r'torch\.optim\.', 'a pickled optimizer or schedule, not only its numbers', _ANEW),
]

# the first bytes of files that are mistaken for checkpoints
_MAGIC = {
    b'\xff\xd8\xff': 'a JPEG image',
    b'\x89PNG': 'a PNG image',
    b'GIF8': 'a GIF image',
    b'%PDF': 'a PDF document',
    b'\x93NUMPY': 'a numpy array (.npy)',
    b'\x1f\x8b': 'gzip-compressed: unpack it first',
    b'\x89HDF': 'an HDF5 file (Keras): write a torch file with the program that made it',
    b'GGUF': 'a GGUF file, whose weights are quantised: give the file that it was made from',
}


def unsafe(path: str, refused: str) -> UnsafeCheckpointError:
    """The error for a file that needs more than data; ``refused`` is what reading it ended at."""
    names = sorted(name for name in names_in(path) if name not in NAMES)
    what, todo = f'besides tensors and plain data it holds {refused}', _ANEW
    if refused == TORCHSCRIPT:
        what, names = f'it is {TORCHSCRIPT}', []
    for pattern, kind, remedy in reversed(_PICKLES):
        if any(re.match(pattern, name) for name in names):
            what, todo = f'it is {kind}', remedy
    if names:
        what += f'; it wants {", ".join(names[:8])}{f" and {len(names) - 8} more" if len(names) > 8 else ""}'
    what = what if len(what) < 1000 else f'{what[:1000]} ...'
    return UnsafeCheckpointError(
        f'{path} was refused, and nothing in it was run: {what}. If a stranger made it, delete it. Else {todo}.'
    )


def corrupt(path: str, reason: str) -> CorruptCheckpointError:
    """The error for a file that is damaged (``reason`` says how), or no checkpoint: then it says what it is."""
    size = osp.getsize(path)
    if kind := kind_of(path):
        return CorruptCheckpointError(f'{path} ({size} bytes) is not a readable checkpoint: it is {kind}.')
    return CorruptCheckpointError(
        f'{path} ({size} bytes) is not a readable checkpoint: {reason}. Copy or download it again, or resume from the '
        'checkpoint before it.'
    )


def folder(path: str) -> IsADirectoryError:
    """The error for a folder: which file in it to give."""
    names = sorted(os.listdir(path))
    saved = sorted((name for name in names if re.fullmatch(r'(epoch|iter)_\d+\.pth', name)), key=lambda n: (len(n), n))
    weights = [name for name in ('model.safetensors', 'pytorch_model.bin', 'encoder.safetensors') if name in names]
    index = [name for name in names if name.endswith('.index.json')]
    if '.metadata' in names or any(name.endswith('.distcp') for name in names):
        what = f'of torch.distributed.checkpoint: `{_ONE_FILE} {path} OUT.pth` writes one file'
    elif weights or saved:
        what = f'give a file in it, such as {" or ".join(osp.join(path, name) for name in weights[:1] + saved[-1:])}'
    elif index:
        what = _shards(osp.join(path, index[0]))
    elif 'data.pkl' in names:
        what = 'an unpacked checkpoint: give the file that it was unpacked from'
    else:
        what = 'give the path of a checkpoint file in it'
    return IsADirectoryError(f'{path} is a folder: {what}.')


def kind_of(path: str) -> str:
    """What a file is that is no checkpoint, and what to do; empty if it may be a damaged checkpoint."""
    with open(path, 'rb') as file:
        head = file.read(4096)
    start = head.lstrip().lower()
    if start.startswith((b'<!doctype', b'<html', b'<?xml')):
        return 'a web page, probably an error page saved under this name: download it again'
    if start.startswith(b'version https://git-lfs'):
        return 'a Git LFS pointer, not the file itself: run `git lfs pull`'
    if path.endswith('.index.json') or (b'"weight_map"' in head and start.startswith(b'{')):
        return _shards(path)
    if head[8:10] == b'{"' and not path.endswith('.safetensors'):
        return 'a safetensors file: name it .safetensors'
    if head.startswith(b'PK\x03\x04'):
        return _zip_kind(path)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b'ustar':
        return 'a tar archive: unpack it first'
    if len(head) >= 64 and not any(head):
        return 'a file that begins with zeros, which a failed copy or a full disk leaves: copy or download it again'
    if (
        len(start) >= 16
        and not re.search(rb'[\x00-\x08\x0e-\x1f]', head)
        and head.decode('utf-8', 'ignore').encode() in head
    ):
        return 'a text file: give a checkpoint'
    return ''


def _zip_kind(path: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a cut one has lost the table at its end; zipfile raises many kinds for a damaged one
        return ''
    if any(name.endswith('data.pkl') for name in names):
        return 'a file of torch.save: name it .pth' if path.endswith('.safetensors') else ''
    if names and all(name.endswith('.npy') for name in names):
        return 'a file of numpy arrays (.npz): write a torch file with the program that made it'
    return f'a zip archive of other files ({", ".join(names[:3])}{" ..." if len(names) > 3 else ""}): unpack it first'


def _shards(path: str) -> str:
    try:
        with open(path, encoding='utf-8') as file:
            count = f'the {len(set(json.load(file)["weight_map"].values()))}'
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        count = 'several'
    return (
        f'a list of the shards of Hugging Face: the weights are in {count} files beside it. Write one: '
        "model.save_pretrained(FOLDER, max_shard_size='100GB')"
    )


def names_in(path: str) -> Set[str]:
    """Names in the pickles of a file, found by disassembling them: nothing is executed."""
    names: Set[str] = set()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if member.endswith('data.pkl'):
                        with archive.open(member) as file:
                            _disassemble(file, names)
        else:
            with open(path, 'rb') as file:
                while True:  # the older format is a sequence of pickles, then raw storages
                    _disassemble(file, names)
    except Exception:  # the end of the pickles, or garbage: the names found so far are the answer
        pass
    return names


def _disassemble(file: IO[bytes], names: Set[str]) -> None:
    memo: Dict[Any, Optional[str]] = {}
    texts: List[Optional[str]] = []  # the last two things pushed, if they are texts
    for opcode, argument, _ in pickletools.genops(file):
        kind = opcode.name
        if kind in ('GLOBAL', 'INST'):
            # Python 2's name, which protocol 2 still writes
            names.add(re.sub(r'^__builtin__\.', 'builtins.', str(argument).replace(' ', '.')))
        elif kind == 'STACK_GLOBAL':
            names.add('.'.join(str(text) for text in texts))
        elif kind.startswith('EXT'):
            names.add(f'copyreg.extension_{argument}')
        if kind == 'MEMOIZE' or 'PUT' in kind:
            memo[len(memo) if kind == 'MEMOIZE' else argument] = texts[-1] if texts else None
        elif 'GET' in kind:
            texts = texts[-1:] + [memo.get(argument)]
        elif kind not in ('FRAME', 'PROTO'):
            texts = texts[-1:] + [argument if isinstance(argument, str) and 'UNICODE' in kind else None]
