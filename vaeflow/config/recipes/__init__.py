"""The recipes that ship with vaeflow: complete, named configs as TOML files, by the same hook as those of plugins."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from vaeflow.errors import UsageError
from vaeflow.plugins.hookspecs import hookimpl
from vaeflow.plugins.recipes import SUFFIX, Recipe, read_recipes, unknown
from vaeflow.plugins.records import Origin
from vaeflow.version import version_of_vaeflow

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@hookimpl
def vaeflow_recipes() -> list[Traversable]:
    """Return the files of this package, by name."""
    files = [file for file in resources.files(__name__).iterdir() if file.name.endswith(SUFFIX)]
    return sorted(files, key=lambda file: file.name.removesuffix(SUFFIX))


def recipes() -> list[Recipe]:
    """Return every built-in recipe, by name.

    >>> [recipe.name for recipe in recipes()]
    ['burda-1', 'burda-1-full', 'fashion-2d', 'mnist-2d', 'mnist-mlp-20']
    """
    return read_recipes(vaeflow_recipes(), Origin(__name__, "vaeflow", version_of_vaeflow()))


def recipe(name: str) -> Recipe:
    """Return a built-in recipe. `Registry.recipe` returns those of plugins, too.

    Raises:
        UsageError: if there is no recipe of that name.
    """
    known = {one.name: one for one in recipes()}
    if name not in known:
        raise UsageError(unknown(name, known))
    return known[name]
