"""Fingerprints of code: the files of vaeflow, and those of the plugins that a run uses.

Plugins are often edited without a new version, so their files are hashed: the plugin's package or file, and what it
imports, see `vaeflow.training.provenance.imports`. For installed distributions that it imports, the version is used.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import os
import site
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.training.provenance.imports import file_of, imported_by

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
        for name, file in imported_by(root, _files_of(root)):
            version = _version_of(name) if _is_installed(file) else {}
            versions |= version
            alone = not version and _root_of(file).is_file()  # a file that somebody put beside distributions
            if alone or not _is_installed(file):
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
    return {file for module in modules if (file := file_of(module)) is not None}


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
    """Return the version of the distribution that a package belongs to, if there is one."""
    try:
        return {name: f"version {importlib.metadata.version(name)}"}
    except importlib.metadata.PackageNotFoundError:  # another name, such as `scikit-learn` of `sklearn`
        versions = [importlib.metadata.version(distribution) for distribution in _distributions().get(name, ())]
        return {name: f"version {', '.join(versions)}"} if versions else {}


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the distributions of each top-level package, such as that of `sklearn`: `scikit-learn`."""
    return importlib.metadata.packages_distributions()


def _files_of(root: Path) -> list[Path]:
    """Return a package's files in the order of their names, including data files and linked folders, but no recipes."""
    if root.is_file():
        return [root]
    suffix, recipes = ".py" if root.name == VAEFLOW else "", root / RECIPES
    paths = (path for folder in _folders_of(root, set()) for path in folder.iterdir() if path.name.endswith(suffix))
    return sorted(path for path in paths if path.is_file() and not (path.suffix == ".toml" and path.parent == recipes))


def _folders_of(root: Path, seen: set[str]) -> Iterator[Path]:
    """Yield a folder and those below it, linked ones too, each once."""
    if root.name == "__pycache__" or (place := os.path.realpath(root)) in seen:
        return
    seen.add(place)
    yield root
    for path in sorted(root.iterdir()):
        if path.is_dir():
            yield from _folders_of(path, seen)


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in _files_of(root):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(root.parent).as_posix()} {size}\n".encode())
        if size <= LARGEST:
            digest.update(path.read_bytes())
    return f"sha256 {digest.hexdigest()[:16]}"
