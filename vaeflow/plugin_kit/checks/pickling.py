"""Record uses of `pickle`: its functions, its classes, and names that other modules imported from it."""

from __future__ import annotations

import contextlib
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FUNCTIONS = ("dump", "dumps", "load", "loads")
METHODS = {"Pickler": "dump", "Unpickler": "load"}
ARRAYS_ONLY = "vaeflow/data/sets/unpickle.py"  # its unpickler allows only NumPy's arrays


@contextlib.contextmanager
def pickling(note: Callable[[str], None]) -> Iterator[None]:
    """Call a function with a line on each use of `pickle` in a block.

    Earlier subclasses of the C classes of `pickle` are not detected.
    """
    instead: dict[int, Any] = {}
    for name in FUNCTIONS:
        instead[id(getattr(pickle, name))] = _function(getattr(pickle, name), f"pickle.{name}", note)
    for name, method in METHODS.items():
        instead[id(getattr(pickle, name))] = _class(getattr(pickle, name), method, f"pickle.{name}.{method}", note)
    with contextlib.ExitStack() as stack:
        for name, method in METHODS.items():  # the Python classes, which other picklers derive from
            written = getattr(pickle, f"_{name}")
            noting = _function(getattr(written, method), f"pickle.{name}.{method}", note)
            stack.enter_context(mock.patch.object(written, method, noting))
        for module, name, value in _names():
            if id(value) in instead:
                stack.enter_context(mock.patch.object(module, name, instead[id(value)]))
        yield


def _names() -> Iterator[tuple[ModuleType, str, Any]]:
    """Yield each loaded module with each of its names; lazy modules are not loaded."""
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType):
            for name, value in list(object.__getattribute__(module, "__dict__").items()):
                yield module, name, value


def _function(function: Callable[..., Any], name: str, note: Callable[[str], None]) -> Callable[..., Any]:
    def noting(*args: Any, **options: Any) -> Any:
        _note(name, note)
        return function(*args, **options)

    return noting


def _class(kind: type, method: str, name: str, note: Callable[[str], None]) -> type:
    inner = getattr(kind, method)

    def noting(self: Any, *args: Any) -> Any:
        _note(name, note)
        return inner(self, *args)

    return type(kind.__name__, (kind,), {method: noting})


def _note(name: str, note: Callable[[str], None]) -> None:
    caller = sys._getframe(2)  # noqa: SLF001
    file = Path(caller.f_code.co_filename)
    if not file.as_posix().endswith(ARRAYS_ONLY):
        note(f"{name} (called from {file.name}, line {caller.f_lineno})")
