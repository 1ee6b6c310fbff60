"""Interprets a pickle, protocols 2 to 5, as data: what it may name stands in a table, and nothing else is found.

It takes the place of torch's unpickler under ``torch.load(weights_only=True)``, which knows protocol 2 alone, prints
what it refuses at any length, and shares its table with the whole process.
"""

import argparse
import pickle
import threading
import types
from collections import Counter, OrderedDict
from contextlib import contextmanager
from io import SEEK_END
from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator

import torch
from torch import _weights_only_unpickler as torchs_own

from .plain_types import ALLOWED, BUILT, RefusedPickle, check_keys

# What a name in a pickle stands for: torch's table, and ours over it.
NAMES: Dict[str, Any] = {**torchs_own._get_allowed_globals(), **ALLOWED}
# What may be called, by identity: a comparison or a hash of what comes from a file can take for ever.
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)
_CALLED = {id(value) for value in NAMES.values() if isinstance(value, _FUNCTIONS)}
_CALLED |= {id(value) for value in (torch.Size, torch.device, complex, torch.nn.Parameter, *ALLOWED.values())}

_Base: Any = pickle._Unpickler  # the one written in Python: its table of opcodes can be cut down
# of protocols 2 to 5, without those that import by number (EXT), construct in other ways (INST, OBJ, NEWOBJ_EX),
# take a text as a persistent id, or buffers from outside
_OPCODES = (
    b'\x80 \x95 . ( 0 1 N \x88 \x89 J K M \x8a \x8b G T U X \x8c \x8d B C \x8e \x96 ) ] } \x8f t \x85 \x86 \x87 '
    b'q r h j \x94 c \x93 Q R \x81 b a e s u \x90 \x91'
).split()


class Unpickler(_Base):  # type: ignore[misc]  # a private class, without types
    """As ``pickle.Unpickler``; raises :class:`RefusedPickle` for what is not data, other errors for what is torn."""

    dispatch = {opcode[0]: _Base.dispatch[opcode[0]] for opcode in _OPCODES}

    def __init__(self, file: BinaryIO, **options: Any) -> None:
        super().__init__(file, **options)
        start = file.tell()
        self._file, self._end = file, file.seek(0, SEEK_END)
        self._left = 16 * self._end + 2**16  # how much the calls may copy in all; each thing is used once or twice
        file.seek(start)
        self._file_read = self._read

    def _read(self, count: int) -> bytes:
        if count > 2**16 and count > self._end - self._file.tell():  # else it is allocated before the end is met
            raise EOFError('a text or a list of bytes is longer than the file')
        return self._file.read(count)

    def find_class(self, module: str, name: str) -> Any:
        full = f'{module}.{name}'.replace('__builtin__.', 'builtins.')  # Python 2's name, which protocol 2 writes
        if full not in NAMES:
            raise RefusedPickle(full)
        return NAMES[full]

    def _charge(self, values: Iterable[Any]) -> None:
        self._left -= sum(len(v) for v in values if type(v) in (str, bytes, bytearray, list, tuple, dict))
        if self._left < 0:
            raise RefusedPickle('copies of copies without end')

    def load_call(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        self._check_call(function, args)
        self.append(function(*args))

    def _check_call(self, function: Any, args: Any) -> None:
        if id(function) not in _CALLED or type(args) is not tuple:
            raise RefusedPickle(f'a call of {getattr(function, "__name__", type(function).__name__)}')
        self._charge(args)
        if function is torch._tensor._rebuild_from_type_v2:  # calls what the file gives it
            self._check_call(args[0], args[2])

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        self._charge(state if type(state) is tuple else [state])
        if type(target) in (OrderedDict, argparse.Namespace) and isinstance(state, dict):
            # a state dict has `_metadata`; what would shadow a method is left out
            kept = {k: v for k, v in state.items() if type(k) is str and not hasattr(type(target), k)}
            vars(target).update(kept)
        elif type(target) in BUILT:
            target.__setstate__(state)
        else:
            raise RefusedPickle(f'a state of {type(target).__name__}')

    def _append(self, items: Any) -> None:
        if type(self.stack[-1]) is not list:
            raise RefusedPickle(f'a list that is a {type(self.stack[-1]).__name__}')
        self.stack[-1].extend(items)

    def _set(self, items: Any) -> None:
        if type(self.stack[-1]) not in (dict, OrderedDict, Counter):
            raise RefusedPickle(f'a dictionary that is a {type(self.stack[-1]).__name__}')
        for key, value in zip(check_keys(items[::2]), items[1::2], strict=True):
            self.stack[-1][key] = value

    def load_additems(self) -> None:
        items = check_keys(self.pop_mark())
        if type(self.stack[-1]) is not set:
            raise RefusedPickle(f'a set that is a {type(self.stack[-1]).__name__}')
        self.stack[-1].update(items)

    def load_frozenset(self) -> None:
        items = check_keys(self.pop_mark())
        self.append(frozenset(items))

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), 'little'))))

    def load_binpersid(self) -> None:
        pid = self.stack.pop()
        if type(pid) is not tuple or len(pid) < 5 or pid[0] not in ('storage', b'storage'):
            raise RefusedPickle('something from outside the file')
        check_keys(pid)
        self.append(self.persistent_load(pid))

    for _opcode, _load in {
        'R': load_call,
        '\x81': load_call,
        'b': load_build,
        'a': lambda self: self._append([self.stack.pop()]),
        'e': lambda self: self._append(self.pop_mark()),
        's': lambda self: self._set([self.stack.pop(-2), self.stack.pop()]),
        'u': lambda self: self._set(self.pop_mark()),
        '\x90': load_additems,
        '\x91': load_frozenset,
        '\x96': load_bytearray8,
        'Q': load_binpersid,
    }.items():
        dispatch[ord(_opcode)] = _load


def _refuse(opcode: int) -> Callable[[Unpickler], None]:
    def load_refused(self: Unpickler) -> None:
        raise RefusedPickle(f'what a pickle of tensors and plain data does not need (opcode {chr(opcode)!r})')

    return load_refused


for _number in set(_Base.dispatch) - set(Unpickler.dispatch):
    Unpickler.dispatch[_number] = _refuse(_number)

_lock = threading.RLock()


@contextmanager
def in_place_of_torchs() -> Iterator[None]:
    """While it lasts, ``torch.load(weights_only=True)`` reads by :class:`Unpickler`."""
    with _lock:
        former, torchs_own.Unpickler = torchs_own.Unpickler, Unpickler  # type: ignore[misc]
        try:
            yield
        finally:
            torchs_own.Unpickler = former  # type: ignore[misc]
