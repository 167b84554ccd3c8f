"""Side effects of a component: files that it writes, objects that it pickles, graphs that it traces."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

from vaeflow.plugin_kit.checks.pickling import pickling
from vaeflow.plugin_kit.checks.require import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRITING = ("w", "a", "x", "+")
CHANGING = {
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"), (0,)),
    **dict.fromkeys(("os.link", "os.symlink"), (1,)),
    "os.rename": (0, 1),
}
"""Python's audit events about files, and the indices of the arguments with changed files."""

OF_PYTHON_AND_TENSORFLOW = ("__pycache__", "__autograph_generated_file")


@dataclass
class SideEffects:
    """The recorded side effects of the code of one file, or of one package.

    Attributes:
        place: the file, or the package's directory with a slash at its end.
        written: files that it opened for writing, or made, removed or renamed.
        pickled: the functions of `pickle` that it called.
    """

    place: str
    written: list[str] = field(default_factory=list)
    pickled: list[str] = field(default_factory=list)

    def is_its_own(self) -> bool:
        """Return whether code of that place is on the call stack."""
        frame: Any = sys._getframe(1)  # noqa: SLF001
        while frame is not None:
            if frame.f_code.co_filename.startswith(self.place):
                return True
            frame = frame.f_back
        return False


# An audit hook can't be removed from the process, so its state is global, too.
_watched: list[SideEffects] = []
_hooked: list[bool] = []


@contextlib.contextmanager
def watched(place: str) -> Iterator[SideEffects]:
    """Record what code of a place writes and pickles in a block.

    Args:
        place: see `place_of`.
    """
    effects = SideEffects(place)
    if not _hooked:
        tempfile.gettempdir()  # the first call takes a lock and writes: inside the hook this would be a deadlock
        sys.addaudithook(_audit)
        _hooked.append(True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(pickling(lambda what: effects.pickled.append(what) if effects.is_its_own() else None))
        _watched.append(effects)
        try:
            yield effects
        finally:
            _watched.remove(effects)


def require_no_pickles(*several: SideEffects, when: str = "") -> None:
    """Raise BrokenRuleError if any of them pickled.

    Args:
        several: recorded side effects.
        when: for the message; begins with a space.
    """
    pickled = dict.fromkeys(one for effects in several for one in effects.pickled)
    require(not pickled, f"it calls {', '.join(pickled)}{when}: pickle is not allowed")


@contextlib.contextmanager
def traced() -> Iterator[list[str]]:
    """Record the names of the graphs that TensorFlow traces in a block."""
    from tensorflow.python.framework import func_graph

    names: list[str] = []
    inner = func_graph.FuncGraph.__init__

    def noting(self: Any, name: str, *args: Any, **options: Any) -> None:
        names.append(name)
        inner(self, name, *args, **options)

    with mock.patch.object(func_graph.FuncGraph, "__init__", noting):
        yield names


def place_of(build: Callable[..., Any]) -> str:
    """Return the file of a build function, or the directory of its top-level package."""
    code: Any = build
    while hasattr(code, "__wrapped__") or isinstance(code, functools.partial):
        code = code.func if isinstance(code, functools.partial) else code.__wrapped__
    names = str(getattr(code, "__module__", "")).split(".")
    # For vaeflow itself only the folder: every component uses its engine.
    place = ".".join(names[:-1] if names[0] == "vaeflow" else names[:1])
    package, module = (sys.modules.get(name) for name in (place, ".".join(names)))
    folders = list(getattr(package, "__path__", ()))
    return f"{folders[0]}{os.sep}" if folders else str(getattr(module, "__file__", None) or "<none>")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    for path in _written(event, arguments):
        if path == tempfile.gettempdir() or any(part in path for part in OF_PYTHON_AND_TENSORFLOW):
            continue
        for effects in _watched:
            if effects.is_its_own():
                effects.written.append(path)


def _written(event: str, arguments: tuple[Any, ...]) -> list[str]:
    """Return the files that an event is about to change."""
    if event == "open":
        path, mode, flags = arguments[:3]
        writes = any(letter in mode for letter in WRITING) if isinstance(mode, str) else bool(flags and flags & 3)
        return [os.fsdecode(path)] if writes and isinstance(path, (str, bytes)) else []
    if event in ("os.remove", "os.rmdir") and arguments[1] != -1:
        return []  # relative to an open folder: rmtree does so, and has its own event
    changed = [arguments[at] for at in CHANGING.get(event, ())]
    return [os.fsdecode(path) for path in changed if isinstance(path, (str, bytes, os.PathLike))]
