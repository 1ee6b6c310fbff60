"""Types that a checkpoint file may contain besides tensors, each read by a stand-in that accepts plain data only.

These are ``argparse.Namespace`` (original training checkpoints hold one), yacs's ``CfgNode`` as a plain dictionary
(SimMIM's hold one), plain numpy numbers and arrays, and the numbers of MMEngine's ``HistoryBuffer`` (in its runner's
checkpoints). Nothing here reaches a function by name: ``getattr``, which histories mention, looks nothing up.
"""

import argparse
import pickle
import re
from collections import OrderedDict
from typing import Any, Callable, List, Tuple

import numpy as np
from mmengine.logging import HistoryBuffer


class _PlainDtype:
    """Stands in for ``numpy.dtype`` while a file is read: accepts numbers, booleans and fixed-length text only.

    numpy's own ``dtype.__setstate__`` takes internal flags from the file, and with crafted ones the bytes of an array
    are used as pointers. Here the file only gives a name like ``f8`` and a byte order.
    """

    def __init__(self, name: Any, align: Any = False, copy: Any = False) -> None:
        self.name, self.order = name, '='

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def to_numpy(self) -> np.dtype:
        """Returns a fresh dtype, or raises ``UnpicklingError`` for one that is not plain."""
        plain = isinstance(self.name, str) and re.fullmatch(r'[biufcSU]\d+', self.name)
        if not plain or self.order not in ('<', '>', '|', '='):
            raise pickle.UnpicklingError(
                f'Unsupported global: GLOBAL numpy.dtype({self.name!r}) was not an allowed global by default.'
            )
        return np.dtype(self.name).newbyteorder(self.order)


class _PlainArray(np.ndarray):
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


def _as_plain(dtype: Any) -> np.dtype:
    if type(dtype) is not _PlainDtype:
        raise pickle.UnpicklingError('Can only build arrays of plain numbers or text')
    return dtype.to_numpy()


def _reconstruct(*_: Any) -> _PlainArray:
    return _PlainArray()


def _scalar(dtype: Any, raw: Any) -> Any:
    return np.frombuffer(raw, _as_plain(dtype))[0]


def _empty_bytes() -> bytes:
    return b''  # protocol 2 writes this for the data of an empty array; bytes(10**12) would fill the memory


class _PlainConfig:
    """Stands in for ``yacs.config.CfgNode``: a plain dictionary, attributes included."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


class _PlainHistory(HistoryBuffer):
    """Stands in for MMEngine's ``HistoryBuffer`` while a file is read: accepts numbers and no methods."""

    def __init__(self, *_: Any) -> None:
        raise pickle.UnpicklingError('Can only build histories of plain numbers')

    def __setstate__(self, state: Any) -> None:
        values, counts = (state[key] for key in ('_log_history', '_count_history'))
        if not all(
            type(part) is _PlainArray and part.dtype.kind in 'iuf' and part.ndim == 1 for part in (values, counts)
        ):
            raise pickle.UnpicklingError('Can only build histories of plain numbers')
        super().__init__(values.tolist(), counts.tolist(), max(len(values), int(state['max_length'])))
        self.__class__ = HistoryBuffer  # from here on an ordinary one


def _nothing(owner: Any = None, name: Any = None, *_: Any) -> None:
    """Stands in for ``getattr``, by which a history names methods of its class: looks nothing up.

    Methods of anything else are refused as if the name were not on the list.
    """
    if owner is not _PlainHistory or not isinstance(name, str):
        raise pickle.UnpicklingError(
            'Unsupported global: GLOBAL builtins.getattr was not an allowed global by default.'
        )


# (the stand-in, the name in a file). Before numpy 2 files have numpy.core, since then numpy._core.
ALLOWED: List[Tuple[Callable, str]] = [
    (argparse.Namespace, 'argparse.Namespace'),
    (_PlainConfig, 'yacs.config.CfgNode'),
    (_PlainArray, 'numpy.ndarray'),
    (_PlainDtype, 'numpy.dtype'),
    (_reconstruct, 'numpy.core.multiarray._reconstruct'),
    (_reconstruct, 'numpy._core.multiarray._reconstruct'),
    (_scalar, 'numpy.core.multiarray.scalar'),
    (_scalar, 'numpy._core.multiarray.scalar'),
    (_empty_bytes, 'builtins.bytes'),
    (_PlainHistory, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_nothing, 'builtins.getattr'),
]
