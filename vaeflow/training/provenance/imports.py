"""Imports of a plugin's source, and the files that they lead to.

Found are import statements anywhere in the source, including those inside functions, relative ones that lead out of the
package, and calls of `import_module` and `__import__` with a constant name. Code that a plugin opens or executes in
other ways is not found.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.training.provenance.environment import COMPUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CALLS = ("import_module", "__import__")


def imported_by(root: Path, files: Iterable[Path]) -> list[tuple[str, Path]]:
    """Return what a package or file imports from outside: top-level names and files, in the order of the names.

    The standard library, TensorFlow, Keras, NumPy and Horovod are left out.

    Args:
        root: the package's folder, or the file.
        files: of the package.
    """
    found = {item for path in files if path.suffix == ".py" for item in _imported_by_file(root, path)}
    return sorted(found)


def file_of(module: str | None) -> Path | None:
    """Return a module's file, by its name or by the path given to --plugin; None if it has none."""
    if not module or module in sys.builtin_module_names:
        return None
    if module.endswith(".py"):
        return Path(module).resolve()
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        spec = _spec_of(module.partition(":")[0])
        file = spec.origin if spec and spec.has_location else None
    return Path(file).resolve() if file else None


def _imported_by_file(root: Path, path: Path) -> Iterator[tuple[str, Path]]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for level, name in _names_in(tree):
        top, *rest = name.split(".")
        file = _absolute(top, rest) if level == 0 else _relative(root, path, level, [top, *rest])
        if file is not None:
            yield top, file


def _names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the level and the dotted name of each import; `from a import b` is `a.b`, since b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = f"{node.module}." if node.module else ""
            yield from ((node.level, f"{stem}{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _name_of(node.func) in CALLS and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value.strip("."):
                name = first.value.lstrip(".")
                yield len(first.value) - len(name), name


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _absolute(top: str, rest: Sequence[str]) -> Path | None:
    """Return the file of a top-level module or package, or of a module in a package without `__init__.py`."""
    if top in sys.stdlib_module_names or top in COMPUTE:
        return None
    file = file_of(top)
    spec = _spec_of(top) if file is None else None
    return file if spec is None else _below(map(Path, spec.submodule_search_locations or ()), rest)


def _relative(root: Path, path: Path, level: int, parts: Sequence[str]) -> Path | None:
    """Return the file that a relative import leads to, unless it is in the same package."""
    folder = path.parent
    for _ in range(level - 1):
        folder = folder.parent
    if root.is_dir() and folder.is_relative_to(root):
        return None
    file = _below([folder], parts)
    return None if file == path else file


def _below(folders: Iterable[Path], parts: Sequence[str]) -> Path | None:
    """Return the first module or package with `__init__.py` on the way of a dotted name below folders."""
    folders = list(folders)
    if not parts or not folders:
        return None
    for folder in folders:
        names = [f"{parts[0]}/__init__.py", *(f"{parts[0]}{suffix}" for suffix in all_suffixes())]
        for name in names:
            if (folder / name).is_file():
                return (folder / name).resolve()
    return _below([folder / parts[0] for folder in folders if (folder / parts[0]).is_dir()], parts[1:])


def _spec_of(module: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
