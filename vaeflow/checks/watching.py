"""What a component does beside computing: files that it writes, objects that it pickles, graphs that it traces."""

from __future__ import annotations

import contextlib
import pickle
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaeflow.checks.subject import Subject

WRITING = ("w", "a", "x", "+")
OF_PYTHON_AND_TENSORFLOW = ("__pycache__", "__autograph_generated_file")
PICKLERS = ("dump", "dumps", "load", "loads")


@dataclass
class Deeds:
    """What code of one file (or below one package) did while it was watched.

    Attributes:
        place: the file, or the package's directory.
        written: files that it opened for writing, or made, removed or renamed.
        pickled: the functions of `pickle` that it called.
    """

    place: str
    written: list[str] = field(default_factory=list)
    pickled: list[str] = field(default_factory=list)

    def is_its_own(self) -> bool:
        """Say whether the caller's caller is, somewhere up the stack, code of that place."""
        frame: Any = sys._getframe(1)  # noqa: SLF001
        while frame is not None:
            if frame.f_code.co_filename.startswith(self.place):
                return True
            frame = frame.f_back
        return False


# An audit hook is the process's own and stays for ever: so is what it looks at.
_watched: list[Deeds] = []
_hooked: list[bool] = []


@contextlib.contextmanager
def watched(subject: Subject) -> Iterator[Deeds]:
    """Note what the component's own code writes and pickles in a block."""
    deeds = Deeds(_place_of(subject))
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked.append(True)
    with contextlib.ExitStack() as stack:
        for name in PICKLERS:
            stack.enter_context(mock.patch.object(pickle, name, _noting(getattr(pickle, name), name, deeds)))
        _watched.append(deeds)
        try:
            yield deeds
        finally:
            _watched.remove(deeds)


@contextlib.contextmanager
def traced() -> Iterator[list[str]]:
    """Note the graphs that TensorFlow traces in a block, by their names."""
    from tensorflow.python.framework import func_graph

    names: list[str] = []
    inner = func_graph.FuncGraph.__init__

    def noting(self: Any, name: str, *args: Any, **options: Any) -> None:
        names.append(name)
        inner(self, name, *args, **options)

    with mock.patch.object(func_graph.FuncGraph, "__init__", noting):
        yield names


def _place_of(subject: Subject) -> str:
    """Return the file that the build function is in, or its package's directory."""
    code: Any = subject.bound.component.build
    while hasattr(code, "__wrapped__"):
        code = code.__wrapped__
    module = sys.modules.get(getattr(code, "__module__", ""), None)
    path = Path(getattr(module, "__file__", None) or "<none>")
    return str(path.parent) if module is not None and "." in module.__name__ else str(path)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    path = _written(event, arguments)
    if path is None or path == tempfile.gettempdir() or any(part in path for part in OF_PYTHON_AND_TENSORFLOW):
        return
    for deeds in _watched:
        if deeds.is_its_own():
            deeds.written.append(path)


def _written(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the file that an event is about to change, if it does."""
    if event == "open":
        path, mode, flags = arguments[:3]
        writes = any(letter in mode for letter in WRITING) if isinstance(mode, str) else bool(flags and flags & 3)
        return str(path) if writes and isinstance(path, (str, bytes)) else None
    return str(arguments[0]) if event in ("os.mkdir", "os.remove", "os.rename", "shutil.rmtree") else None


def _noting(function: Callable[..., Any], name: str, deeds: Deeds) -> Callable[..., Any]:
    def noting(*args: Any, **options: Any) -> Any:
        if deeds.is_its_own():
            line = traceback.extract_stack(limit=2)[0]
            deeds.pickled.append(f"pickle.{name} (called from {Path(line.filename).name}, line {line.lineno})")
        return function(*args, **options)

    return noting
