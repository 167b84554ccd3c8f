"""`vaeflow plugins new`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from vaeflow.cli.completion import complete_kind
from vaeflow.cli.shared import examples


@click.command(
    epilog=examples("vaeflow plugins new encoder wide-net", "vaeflow plugins new metric sharpness --out plugins")
)
@click.argument("kind", shell_complete=complete_kind)
@click.argument("name")
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder in which vaeflow-NAME is created; default: the current one. Example: --out plugins",
)
def new(kind: str, name: str, folder: Path) -> None:
    """Create a new plugin: an installable package with tests and a README.

    KIND is a kind of component (encoder), NAME the name that a config selects it by (wide-net). The new component can
    be trained without changes. No file is overwritten.
    """
    from vaeflow.plugin_kit.scaffold import write_plugin
    from vaeflow.plugin_kit.scaffold.selecting import command

    written = write_plugin(kind, name, folder)
    package = folder / f"vaeflow-{name}"
    click.echo(f"wrote {package}:")
    for file in written:
        click.echo(f"  {file.relative_to(package)}")
    quoted = shlex.quote(str(package))
    click.echo(f"next:\n  pip install -e {quoted}\n  pytest {quoted}\n  vaeflow train {command(kind, name)}")
