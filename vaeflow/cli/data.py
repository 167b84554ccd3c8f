"""`vaeflow data list` and `vaeflow data fetch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vaeflow.cli.group import TeachingGroup
from vaeflow.cli.shared import data_dir_option, examples, folders

if TYPE_CHECKING:
    from pathlib import Path


@click.group(
    cls=TeachingGroup,
    epilog=examples(
        "vaeflow data list",
        "vaeflow data fetch mnist",
    ),
)
def data() -> None:
    """List the published data sets, or download one."""


@data.command("list")
@data_dir_option
def list_(data_dir: Path | None) -> None:
    """List the published data sets and whether each is cached.

    Example: vaeflow data list
    """
    from vaeflow.data.sets.content import PUBLISHED

    cache = folders(data_dir).cache
    for name in PUBLISHED:
        cached = cache / f"{name}.npz"
        click.echo(f"{name:<14}  {cached if cached.exists() else f'not cached; vaeflow data fetch {name}'}")


@data.command()
@click.argument("name")
@data_dir_option
def fetch(name: str, data_dir: Path | None) -> None:
    """Download a data set into the cache and verify its checksum.

    NAME is a data set of `vaeflow data list`. These sources are tried in order: --data-dir, the cache, public
    mirrors.

    Example: vaeflow data fetch mnist --data-dir ~/datasets
    """
    from vaeflow.data.sets.fetch import fetch as fetch_into_cache

    click.echo(str(fetch_into_cache(name, folders(data_dir))))
