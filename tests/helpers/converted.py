"""AutoGraph's conversions, made before a fork.

Most of the time that TensorFlow takes to trace a step is spent on reading Python's source and writing it anew. What it
makes of a function depends on the function's code alone, and it keeps it by the code. So a first child tells which
codes were converted, and the server converts the same before it forks the next: without a tensor, a graph or a context.
"""

from __future__ import annotations

import gc
import json
import os
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Key = tuple[str, int, str]  # a code's file, first line and name
Conversion = tuple[Key, tuple[bool, ...], tuple[str, ...]]  # a code, with flags and features of its conversion
_tried: set[Conversion] = set()  # what other processes wrote down before


def record(descriptor: int) -> None:
    """Write down which functions are converted in this process, and how."""
    from tensorflow.python.autograph.impl import api

    transform, out = api._TRANSPILER.transform, open(descriptor, "wb", buffering=0)  # noqa: SIM115

    def noted(entity: Any, user: Any) -> Any:
        if not api._TRANSPILER._cache.has(entity, user.options):
            *flags, features = user.options.as_tuple()
            line = [_key(entity.__code__), flags, sorted(feature.name for feature in features)]
            out.write(f"{json.dumps(line)}\n".encode())
        return transform(entity, user)

    api._TRANSPILER.transform = noted


def convert(descriptor: int) -> None:
    """Convert the functions that another process wrote down, as far as this one has them."""
    from tensorflow.python.autograph.core.converter import ConversionOptions, Feature, ProgramContext
    from tensorflow.python.autograph.impl import api

    written = set(_written(descriptor)) - _tried
    if not written:
        return
    _tried.update(written)
    gc.unfreeze()  # what is frozen is not listed
    functions = dict(_functions())
    for key, flags, names in written:
        if key in functions:
            options = ConversionOptions(*flags, frozenset(Feature[name] for name in names))
            api._TRANSPILER.transform(functions[key], ProgramContext(options=options))
    gc.freeze()


def _written(descriptor: int) -> Iterator[Conversion]:
    """Yield what a process wrote, apart from a last line that was cut off when it was killed."""
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()
    for line in content.splitlines(keepends=True):
        if line.endswith("\n"):
            key, flags, features = json.loads(line)
            yield tuple(key), tuple(flags), tuple(features)


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
