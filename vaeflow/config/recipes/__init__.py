"""The recipes that ship with vaeflow: complete, named configs as TOML files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from vaeflow.errors import UsageError, nearest


@dataclass(frozen=True)
class Recipe:
    """A config that ships with the package.

    Attributes:
        name: as in `vaeflow train NAME`.
        text: the TOML file.
    """

    name: str
    text: str

    @property
    def summary(self) -> str:
        """The first line of the file, a comment."""
        return self.text.partition("\n")[0].lstrip("# ")


def recipes() -> list[Recipe]:
    """Return every recipe, by name.

    >>> [recipe.name for recipe in recipes()]
    ['fashion-2d', 'mnist-2d', 'mnist-mlp-20']
    """
    files = [file for file in resources.files(__name__).iterdir() if file.name.endswith(".toml")]
    return [
        Recipe(file.name.removesuffix(".toml"), file.read_text(encoding="utf-8"))
        for file in sorted(files, key=lambda file: file.name)
    ]


def recipe(name: str) -> Recipe:
    """Return a recipe.

    Raises:
        UsageError: if there is no recipe of that name.
    """
    known = {one.name: one for one in recipes()}
    if name not in known:
        raise UsageError(f"unknown recipe {name!r}; {nearest(name, known)} (the path of a file ends with .toml)")
    return known[name]
