"""`vaeflow recipes`."""

from __future__ import annotations

import click

from vaeflow.cli.shared import examples


@click.command(
    epilog=examples(
        "vaeflow recipes",
        "vaeflow recipes mnist-2d > mine.toml",
    )
)
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes, or print one as TOML.

    NAME is the name of a recipe. Save the output as a file to write your own recipe.
    """
    if name is None:
        list_recipes()
        return
    from vaeflow.config.recipes import recipe

    click.echo(recipe(name).text, nl=False)


def list_recipes() -> None:
    """Print the name and the summary of each recipe."""
    from vaeflow.config.recipes import recipes as shipped

    found = shipped()
    width = max(len(recipe.name) for recipe in found)
    for recipe in found:
        click.echo(f"{recipe.name:<{width}}  {recipe.summary}")
