"""The recipes that plugins name: TOML files of their packages."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.errors import PluginError, UsageError, nearest
from vaeflow.files.read import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaeflow.plugins.records import Origin

HOOK = "vaeflow_recipes"
SUFFIX = ".toml"
_NAME = re.compile(r"[a-z0-9]+([-_.][a-z0-9]+)*")


@dataclass(frozen=True)
class Recipe:
    """A config with a name, a TOML file of a plugin.

    Attributes:
        name: as in `vaeflow train NAME`: the file's name without `.toml`.
        text: the TOML file.
        origin: the plugin that names it.
    """

    name: str
    text: str
    origin: Origin

    @property
    def summary(self) -> str:
        """The first line of the file, a comment."""
        return self.text.partition("\n")[0].lstrip("# ")

    @property
    def place(self) -> str:
        """The file as errors of the config name it; with its plugin, if it isn't built in."""
        file = f"{self.name}{SUFFIX}"
        return file if self.origin.distribution == "vaeflow" else f"{file} of {self.origin}"


def read_recipes(returned: Any, origin: Origin) -> list[Recipe]:
    """Return the recipes whose files a hook returned, in the order of the hook.

    Args:
        returned: what the hook returned: an iterable of paths, absolute ones or those of `importlib.resources.files`.
        origin: the plugin.

    Raises:
        PluginError: if something else was returned, a file can't be read, its name is not that of a recipe, or two
            files have one name.
    """
    if isinstance(returned, (str, bytes, Traversable)) or not hasattr(returned, "__iter__"):
        raise PluginError(f"{HOOK} must yield the paths of TOML files, but returned {returned!r}")
    found: dict[str, Recipe] = {}
    for file in returned:
        recipe = _read(file, origin)
        if recipe.name in found:
            raise PluginError(f"it yields recipe {recipe.name!r} twice")
        found[recipe.name] = recipe
    return list(found.values())


def unknown(name: str, known: Iterable[str]) -> str:
    """Return the error about an unknown recipe: the nearest name and all names.

    >>> unknown("mnist-3d", ["mnist-2d"])
    "unknown recipe 'mnist-3d'; did you mean 'mnist-2d'? Available: mnist-2d (the path of a file ends with .toml)"
    """
    return f"unknown recipe {name!r}; {nearest(name, known)} (the path of a file ends with {SUFFIX})"


def _read(file: Any, origin: Origin) -> Recipe:
    if isinstance(file, (str, os.PathLike)):
        file = Path(file)
        if not file.is_absolute():
            raise PluginError(f"recipe {str(file)!r} is a relative path; use importlib.resources.files(PACKAGE)")
    if not isinstance(file, Traversable):
        raise PluginError(f"{HOOK} must yield the paths of TOML files, but yielded {file!r}")
    name = file.name.removesuffix(SUFFIX)
    if name == file.name or not _NAME.fullmatch(name):
        raise PluginError(f"recipe {file.name!r}: a recipe's file is NAME.toml, the name in lower case without spaces")
    if not file.is_file():
        raise PluginError(f"recipe {name!r}: there is no file {file}; is it part of the package?")
    try:
        with resources.as_file(file) as path:
            return Recipe(name, read_text(path, follow=True), origin)
    except UsageError as error:
        raise PluginError(f"recipe {name!r}: {error}") from error
