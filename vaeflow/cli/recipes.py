"""`vaeflow recipes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vaeflow.cli.completion import complete_recipe
from vaeflow.cli.shared import examples, plugin_option

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(
    epilog=examples(
        "vaeflow recipes",
        "vaeflow recipes mnist-2d > mine.toml",
    )
)
@click.argument("name", required=False, shell_complete=complete_recipe)
@plugin_option
def recipes(name: str | None, modules: tuple[str, ...]) -> None:
    """List the recipes with the plugins that they come from, or print one as TOML.

    NAME is the name of a recipe. Save the output as a file to write your own recipe.
    """
    if name is None:
        list_recipes(modules)
        return
    from vaeflow.plugins.registry import Registry

    click.echo(Registry.load(modules).recipe(name).text, nl=False)


def list_recipes(modules: Sequence[str]) -> None:
    """Print the name, the origin and the summary of each recipe, those of `modules` and of installed plugins too."""
    from vaeflow.plugins.registry import Registry

    found = Registry.load(modules).recipes()
    rows = [(one.name, str(one.origin), one.summary) for one in found]
    name, origin = (max(len(row[column]) for row in rows) for column in (0, 1))
    for row in rows:
        click.echo(f"{row[0]:<{name}}  {row[1]:<{origin}}  {row[2]}")
