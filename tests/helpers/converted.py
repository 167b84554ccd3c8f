"""AutoGraph's conversions, made before a fork.

Most of the time that TensorFlow takes to trace a step is spent on reading Python's source and writing it anew. What it
makes of a function depends on the function's code alone, and it keeps it by the code. So a first child tells which
codes were converted, and the server converts the same before it forks the next: without a tensor, a graph or a context.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Key = tuple[str, int, str]  # a code's file, first line and name
_tried: set[tuple[Key, Any]] = set()  # what another process wrote down before, with its options


def record(descriptor: int) -> None:
    """Write down which functions are converted in this process, and how."""
    from tensorflow.python.autograph.impl import api

    transform, out = api._TRANSPILER.transform, open(descriptor, "wb", buffering=0)  # noqa: SIM115

    def noted(entity: Any, user: Any) -> Any:
        if not api._TRANSPILER._cache.has(entity, user.options):
            pickle.dump((_key(entity.__code__), user.options.as_tuple()), out)
        return transform(entity, user)

    api._TRANSPILER.transform = noted


def convert(descriptor: int) -> None:
    """Convert the functions that another process wrote down, as far as this one has them."""
    from tensorflow.python.autograph.core.converter import ConversionOptions, ProgramContext
    from tensorflow.python.autograph.impl import api

    written = set(_written(descriptor)) - _tried
    if not written:
        return
    _tried.update(written)
    gc.unfreeze()  # what is frozen is not listed
    functions = dict(_functions())
    for key, options in written:
        if key in functions:
            api._TRANSPILER.transform(functions[key], ProgramContext(options=ConversionOptions(*options)))
    gc.freeze()


def _written(descriptor: int) -> Iterator[tuple[Key, Any]]:
    """Yield what a process wrote; one that was killed may have written a part of the last."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as written, contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            yield pickle.load(written)


def _key(code: types.CodeType) -> Key:
    return code.co_filename, code.co_firstlineno, code.co_qualname


def _functions() -> Iterator[tuple[Key, types.FunctionType]]:
    """Yield all functions there are and those that they would make, which get empty cells."""
    for function in [each for each in gc.get_objects() if isinstance(each, types.FunctionType)]:
        for code in _inner(function.__code__):
            cells = tuple(types.CellType(None) for _ in code.co_freevars)
            yield _key(code), types.FunctionType(code, function.__globals__, code.co_name, None, cells)
        yield _key(function.__code__), function


def _inner(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _inner(constant)
