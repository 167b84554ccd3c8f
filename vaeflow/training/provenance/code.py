"""Fingerprints of code: the files of vaeflow, and those of the plugins that a run uses.

Plugins are often edited without a new version, so their files are hashed: the plugin's package or file, and what it
imports. For installed distributions that it imports, the version is used. Imports are found in the source, including
those inside functions; code that a plugin opens or executes in other ways is not found.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import site
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.training.provenance.environment import COMPUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from vaeflow.plugins.registered import Bound

VAEFLOW = "vaeflow"
FOLDERS = frozenset({"site-packages", "dist-packages"})
LARGEST = 2**24  # bytes; of larger files only the size is used
RECIPES = "recipes"
"""Folder of a package whose TOML files are not hashed: a run has a copy of its config, so a recipe decides nothing."""
INSTALLED = tuple(
    Path(folder).resolve()
    for folder in (*site.getsitepackages(), *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")))
)


def fingerprints(components: Iterable[Bound]) -> dict[str, str]:
    """Return fingerprints of vaeflow and of the code of components, by package or file.

    Args:
        components: the components in use.

    Returns:
        `sha256 1f2e...` for vaeflow and for each package or file that holds a component or is not installed;
        `version 1.2` for other installed distributions that these import. The environment has the versions of
        TensorFlow, Keras, NumPy and Horovod.
    """
    components = list(components)
    waiting = sorted(_files_behind(components))
    digests = {root: _digest(root) for root in [_root_of(Path(__file__))]}
    versions: dict[str, str] = {}
    while waiting:
        root = _root_of(waiting.pop())
        if root in digests or root.name == VAEFLOW:
            continue
        digests[root] = _digest(root)
        for name in sorted(_imported_by(root) - sys.stdlib_module_names - set(COMPUTE)):
            file = _file_of(name)
            if file is None:
                continue
            if _is_installed(file):
                versions |= _version_of(name)
            else:
                waiting.append(file)
    return dict(sorted((versions | _named(digests) | _without_file(components)).items()))


def packages_of(components: Iterable[Bound]) -> set[str]:
    """Return the names of the packages or files that contain components, as in `fingerprints`."""
    components = list(components)
    return {_root_of(file).name for file in _files_behind(components)} | set(_without_file(components))


def _files_behind(components: Iterable[Bound]) -> set[Path]:
    """Return the files of the plugins and build functions of components, and of those that their options select."""
    return {file for bound in _all_of(components) for file in _files_of_one(bound)}


def _files_of_one(bound: Bound) -> set[Path]:
    modules = (getattr(_function_of(bound), "__module__", None), bound.registered.origin.module)
    return {file for module in modules if (file := _file_of(module)) is not None}


def _without_file(components: Iterable[Bound]) -> dict[str, str]:
    """Return digests of components that no file holds, such as those of a notebook: of their build functions' source.

    What such a function calls outside of itself is not in the digest.
    """
    alone = [bound for bound in _all_of(components) if not _files_of_one(bound)]
    return {f"{one.component.kind} {one.name}": _digest_of_source(_function_of(one)) for one in alone}


def _all_of(components: Iterable[Bound]) -> Iterator[Bound]:
    """Yield components and those that their options select."""
    yield from (one for outer in components for one in (outer, *outer.nested().values()))


def _function_of(bound: Bound) -> Callable[..., Any]:
    return inspect.unwrap(getattr(bound.component.build, "func", bound.component.build))


def _digest_of_source(function: Callable[..., Any]) -> str:
    try:
        source = inspect.getsource(function).encode()
    except (OSError, TypeError):  # typed into an interpreter that keeps no source
        code = getattr(function, "__code__", None)
        source = code.co_code + repr(code.co_consts).encode() if code else repr(function).encode()
    return f"sha256 {hashlib.sha256(source).hexdigest()[:16]}"


def _named(digests: Mapping[Path, str]) -> dict[str, str]:
    """Return digests by the names of files and packages, since paths differ between hosts."""
    named: dict[str, str] = {}
    for root, digest in sorted(digests.items()):
        named[root.name] = f"{named[root.name]}, {digest}" if root.name in named else digest
    return named


def _file_of(module: str | None) -> Path | None:
    """Return a module's file, by its name or by the path given to --plugin; None if it has none."""
    if not module or module in sys.builtin_module_names:
        return None
    if module.endswith(".py"):
        return Path(module).resolve()
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        try:
            spec = importlib.util.find_spec(module.partition(":")[0])
        except (ImportError, ValueError, AttributeError):
            return None
        file = spec.origin if spec and spec.has_location else None
    return Path(file).resolve() if file else None


def _root_of(file: Path) -> Path:
    """Return the outermost package that contains a file, or the file."""
    root = file
    while (root.parent / "__init__.py").is_file():
        root = root.parent
    return root


def _is_installed(file: Path) -> bool:
    """Return whether a file belongs to an installed distribution, in this or a parent environment."""
    return not FOLDERS.isdisjoint(file.parts) or any(file.is_relative_to(folder) for folder in INSTALLED)


def _version_of(name: str) -> dict[str, str]:
    """Return the version of the distribution with the same name as a package, if there is one."""
    try:
        return {name: f"version {importlib.metadata.version(name)}"}
    except importlib.metadata.PackageNotFoundError:
        return {}


def _files_of(root: Path) -> Iterator[Path]:
    """Yield a package's files in the order of their names, including data files, except its recipes."""
    if root.is_file():
        yield root
        return
    for path in sorted(root.rglob("*.py" if root.name == VAEFLOW else "*")):
        is_recipe = path.suffix == ".toml" and path.parent == root / RECIPES
        if "__pycache__" not in path.parts and path.is_file() and not is_recipe:
            yield path


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in _files_of(root):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(root.parent).as_posix()} {size}\n".encode())
        if size <= LARGEST:
            digest.update(path.read_bytes())
    return f"sha256 {digest.hexdigest()[:16]}"


def _imported_by(root: Path) -> set[str]:
    """Return the top-level names that a package's or file's source imports."""
    names: set[str] = set()
    for path in _files_of(root):
        if path.suffix == ".py":
            names |= _imports_in(path)
    return names - {root.stem}


def _imports_in(path: Path) -> set[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names
