"""What is required of a recipe of a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.errors import UsageError
from vaeflow.plugin_kit.checks.rule import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.plugins.recipes import Recipe
    from vaeflow.plugins.registry import Registry

SUMMARY, CONFIG = "summary", "config"


def check_recipe(recipe: Recipe, registry: Registry) -> Iterator[Result]:
    """Yield the results of a recipe's rules. Imports no TensorFlow.

    `summary`: the first line of the file is a comment, which `vaeflow recipes` prints. `config`: every key, component
    and option exists, the values are allowed, and the key `name` is the recipe's name.
    """
    first = recipe.text.partition("\n")[0]
    plain = first.startswith("#") and recipe.summary
    yield _result(SUMMARY, "" if plain else f"the first line is {first!r}, not a comment that says what it trains")
    yield _result(CONFIG, _wrong_with(recipe, registry))


def _wrong_with(recipe: Recipe, registry: Registry) -> str:
    try:
        name = resolve(compose(recipe.name, find=registry.recipe), registry).config.name
    except UsageError as error:
        return str(error)
    return "" if name == recipe.name else f"{recipe.place}: name: it is {name!r}, not {recipe.name!r} like the file's"


def _result(rule: str, message: str) -> Result:
    return Result(rule, "broken" if message else "ok", message)
