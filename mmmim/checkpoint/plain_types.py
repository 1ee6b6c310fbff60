"""What a checkpoint file may name besides torch's own: stand-ins that accept plain data only and give plain data.

Nothing here reaches a function by name: ``getattr``, which histories mention, looks nothing up. A path becomes a text,
a type its name as a text, a configuration (yacs, EasyDict, Lightning's) a dictionary, a deque a list.
"""

import argparse
import datetime
import pathlib
import re
import struct
from collections import Counter, OrderedDict
from typing import Any, Callable, Dict, List

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


class RefusedPickle(Exception):
    """Something that is not plain data, named by the text. Not an ``UnpicklingError``, which torch rewrites."""


def check_keys(items: Any) -> Any:
    """Returns what is to be hashed, without nested tuples: a few bytes of those take for ever."""
    for item in items:
        if isinstance(item, tuple) and (len(item) > 64 or any(isinstance(part, tuple) for part in item)):
            raise RefusedPickle('a nested tuple as a key')
    return items


class _PlainDtype:
    """Stands in for ``numpy.dtype`` while a file is read: accepts numbers, booleans and fixed-length text only.

    numpy's own ``dtype.__setstate__`` takes internal flags from the file, and with crafted ones the bytes of an array
    are used as pointers. Here the file only gives a name like ``f8`` and a byte order.
    """

    def __init__(self, name: Any, align: Any = False, copy: Any = False) -> None:
        self.name, self.order = name, '='

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def _as_plain(dtype: Any) -> 'np.dtype[Any]':
    name, order = (dtype.name, dtype.order) if type(dtype) is _PlainDtype else (None, None)
    if type(name) is not str or not re.fullmatch(r'[biufcSU][0-9]{1,9}', name) or order not in ('<', '>', '|', '='):
        raise RefusedPickle('a numpy.dtype that is neither numbers nor text')
    return np.dtype(name).newbyteorder(order)  # type: ignore[arg-type]


class _PlainArray(np.ndarray[Any, Any]):
    """Stands in for ``numpy.ndarray`` while a file is read; afterwards it is an ordinary array."""

    def __new__(cls, *_: Any) -> '_PlainArray':
        return super().__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        dtype = _as_plain(dtype)
        shape = np.frombuffer(raw, dtype).reshape(shape).shape  # raises where the bytes do not fill the shape
        # numpy's stub has its own bool, its code a number
        super().__setstate__((1, shape, dtype, bool(fortran), bytes(raw)))  # type: ignore[arg-type]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)  # never written to a file under this class's name


def _reconstruct(*_: Any) -> _PlainArray:
    return _PlainArray()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _PlainArray:
    array = _PlainArray()  # protocol 5
    array.__setstate__((1, shape, dtype, order == 'F', raw))
    return array


def _scalar(dtype: Any, raw: Any) -> Any:
    return np.frombuffer(raw, _as_plain(dtype))[0]


class _PlainHistory(HistoryBuffer):  # type: ignore[misc]  # MMEngine has no types
    """Stands in for MMEngine's ``HistoryBuffer`` while a file is read: accepts numbers and no methods."""

    def __init__(self, *content: Any) -> None:
        if content:
            raise RefusedPickle('a history of something else than plain numbers')

    def __setstate__(self, state: Any) -> None:
        values, counts = (state[key] for key in ('_log_history', '_count_history'))
        if not all(
            type(part) is _PlainArray and part.dtype.kind in 'iuf' and part.ndim == 1 for part in (values, counts)
        ):
            raise RefusedPickle('a history of something else than plain numbers')
        super().__init__(values.tolist(), counts.tolist(), max(len(values), int(state['max_length'])))
        self.__class__ = HistoryBuffer  # from here on an ordinary one


def _nothing(owner: Any = None, name: Any = None, *_: Any) -> None:
    """Stands in for ``getattr``, by which a history names methods of its class: looks nothing up.

    Methods of anything else are refused as if the name were not on the list.
    """
    if owner is not _PlainHistory or not isinstance(name, str):
        raise RefusedPickle('builtins.getattr')


def _of(kind: type, make: Callable[..., Any]) -> Callable[..., Any]:
    """A stand-in with at most one argument, which must be of a type; it is never a function's way to other calls."""

    def stand_in(*arguments: Any) -> Any:
        if len(arguments) > 1 or any(type(argument) is not kind for argument in arguments):
            raise RefusedPickle(f'a {make.__name__} of something else than a {kind.__name__}')
        return make(*arguments)

    return stand_in


def _set(items: List[Any]) -> Any:
    return set(check_keys(items))


def _frozenset(items: List[Any]) -> Any:
    return frozenset(check_keys(items))


def _ordered(content: Any = ()) -> Any:
    if not isinstance(content, dict):  # as Python 2 writes it: pairs
        check_keys([key for key, _ in content])
    return OrderedDict(content)


def _namespace() -> argparse.Namespace:
    return argparse.Namespace()


def _encode(text: Any, codec: Any = None) -> bytes:
    """Stands in for ``_codecs.encode``, by which protocol 2 writes bytes."""
    if type(text) is not str or codec not in ('latin1', 'latin-1'):
        raise RefusedPickle('_codecs.encode of something else than latin1')
    return text.encode('latin1')


def _bytearray(content: Any = b'', codec: Any = None) -> bytearray:
    return bytearray(content if type(content) is bytes else _encode(content, codec))


def _empty_bytes() -> bytes:
    return b''  # protocol 2 writes this for the data of an empty array; bytes(10**12) would fill the memory


def _path(*parts: str) -> str:
    return str(pathlib.PurePosixPath(*parts))


def _windows_path(*parts: str) -> str:
    return str(pathlib.PureWindowsPath(*parts))


def _date(raw: bytes) -> datetime.date:
    return datetime.date(*struct.unpack('>HBB', raw))  # unlike its own constructor this examines every number


def _datetime(raw: bytes, zone: Any = None) -> datetime.datetime:
    year, month, day, hour, minute, second, high, low = struct.unpack('>HBBBBBBH', raw)
    return datetime.datetime(year, month & 127, day, hour, minute, second, high * 65536 + low, zone, fold=month >> 7)


def _time(raw: bytes, zone: Any = None) -> datetime.time:
    hour, minute, second, high, low = struct.unpack('>BBBBH', raw)
    return datetime.time(hour & 127, minute, second, high * 65536 + low, zone, fold=hour >> 7)


def _timedelta(days: int = 0, seconds: int = 0, microseconds: int = 0) -> datetime.timedelta:
    return datetime.timedelta(days, seconds, microseconds)


def _timezone(*arguments: Any) -> datetime.timezone:
    return datetime.timezone(*arguments)


def _default_dict(factory: Any = None) -> Dict[Any, Any]:
    return {}


def _deque(items: Any = (), length: Any = None) -> List[Any]:
    return list(items)


_LAYOUTS = {str(value): value for value in vars(torch).values() if isinstance(value, torch.layout)}


# The types on which a state may be set, each by a method that examines it.
BUILT = (_PlainDtype, _PlainArray, _PlainHistory, torch.nn.Parameter)

# The name in a file: its stand-in; a text stands for a type that is only mentioned.
ALLOWED: Dict[str, Any] = {
    'argparse.Namespace': _namespace,
    'types.SimpleNamespace': _namespace,
    'collections.OrderedDict': _ordered,
    'collections.Counter': _of(dict, Counter),
    'collections.defaultdict': _default_dict,
    'collections.deque': _deque,
    'builtins.set': _of(list, _set),
    'builtins.frozenset': _of(list, _frozenset),
    'builtins.bytearray': _bytearray,
    'builtins.bytes': _empty_bytes,
    '_codecs.encode': _encode,
    'torch.serialization._get_layout': _of(str, _LAYOUTS.__getitem__),
    'numpy.ndarray': _PlainArray,
    'numpy.dtype': _PlainDtype,
    'datetime.datetime': _datetime,
    'datetime.date': _date,
    'datetime.time': _time,
    'datetime.timedelta': _timedelta,
    'datetime.timezone': _timezone,
    'mmengine.logging.history_buffer.HistoryBuffer': _PlainHistory,
    'builtins.getattr': _nothing,
}
for _module in ('numpy.core', 'numpy._core'):  # before numpy 2, and since
    ALLOWED[f'{_module}.multiarray._reconstruct'] = _reconstruct
    ALLOWED[f'{_module}.multiarray.scalar'] = _scalar
    ALLOWED[f'{_module}.numeric._frombuffer'] = _from_buffer
for _module in ('pathlib', 'pathlib._local'):  # the second is Python 3.13's
    ALLOWED.update({f'{_module}.{name}': _path for name in ('PosixPath', 'PurePosixPath')})
    ALLOWED.update({f'{_module}.{name}': _windows_path for name in ('WindowsPath', 'PureWindowsPath')})
for _name in (
    'yacs.config.CfgNode',
    'fvcore.common.config.CfgNode',
    'detectron2.config.config.CfgNode',
    'easydict.EasyDict',
    'addict.addict.Dict',
    'mmengine.config.config.ConfigDict',
    'pytorch_lightning.utilities.parsing.AttributeDict',
    'lightning_fabric.utilities.data.AttributeDict',
    'lightning.fabric.utilities.data.AttributeDict',
):
    ALLOWED[_name] = _ordered
for _name in ('bool', 'int', 'float', 'str', 'list', 'tuple', 'dict'):  # factories, mostly
    ALLOWED[f'builtins.{_name}'] = _name
for _name in 'bool_ bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64'.split():
    ALLOWED[f'numpy.{_name}'] = f'numpy.{_name}'
ALLOWED['builtins.long'], ALLOWED['builtins.unicode'] = 'int', 'str'  # as protocol 2 writes them
# Lightning before 1.5 files the state of this hook under its type
_name = 'pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint'
ALLOWED[_name] = _name
