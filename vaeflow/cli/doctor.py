"""`vaeflow doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vaeflow.cli.shared import data_dir_option, folders, plugin_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@plugin_option
@data_dir_option
def doctor(modules: tuple[str, ...], data_dir: Path | None) -> None:
    """Report what is installed on this machine and what is missing.

    Prints versions, devices, the CPU's instruction sets, data sets, plugins (also those that failed to load),
    what each strategy still needs, and whether a container builder works.

    Example: vaeflow doctor
    """
    from vaeflow.commands.doctor import examine
    from vaeflow.plugins.registry import Registry

    for section in examine(Registry.load(modules), folders(data_dir)):
        click.echo(section.title)
        for line in section.lines:
            click.echo(f"  {line}")
