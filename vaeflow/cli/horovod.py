"""`vaeflow horovod install` and `vaeflow horovod status`."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from vaeflow.cli.group import TeachingGroup
from vaeflow.cli.shared import examples, folders
from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaeflow.distributed.horovod_build.install import Device


@click.group(
    cls=TeachingGroup,
    epilog=examples(
        "vaeflow horovod install",
        "horovodrun -np 2 vaeflow train mnist-2d",
    ),
)
def horovod() -> None:
    """Build and install Horovod, which strategy 'horovod' needs."""


@horovod.command()
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device of the collective operations: cpu uses Gloo, cuda also NCCL. Example: --device cpu",
)
@click.option("--rebuild", is_flag=True, help="Build and install again, even if Horovod is installed or cached.")
@click.option("--if-possible", is_flag=True, help="If Horovod can't be installed, print why and exit with 0.")
def install(device: Device, rebuild: bool, if_possible: bool) -> None:
    """Build Horovod and install it into this Python environment.

    Downloads the sources from pip's package registry, verifies their checksum, and builds them for the installed
    TensorFlow. This takes minutes and needs a C++ compiler and make. The wheel is stored in vaeflow's cache, so that
    the next installation takes seconds.

    Example: vaeflow horovod install
    """
    from vaeflow.distributed.horovod_build.install import install as install_horovod
    from vaeflow.distributed.horovod_build.sdist import ChecksumError

    try:
        with _bar() as progress:
            install_horovod(folders(None).cache, device=device, rebuild=rebuild, say=_say, progress=progress)
    except ChecksumError:
        raise
    except (VaeflowError, OSError) as error:
        if not if_possible:
            raise
        _say(f"horovod: not installed: {' '.join(str(error).split())}")


@horovod.command()
def status() -> None:
    """Print whether Horovod is installed and can be imported, and which wheel is cached for this Python.

    The exit code is 0 if it can be imported, otherwise 1.

    Example: vaeflow horovod status
    """
    from vaeflow.distributed.horovod_build.install import state_of_cache
    from vaeflow.distributed.horovod_build.probe import probe

    found = probe()
    click.echo(
        f"horovod {found.version}: works, built with {found.operations}"
        if found.works
        else f"horovod {found.version or 'missing'}: {found.problem}; vaeflow horovod install builds it"
    )
    click.echo(f"cache: {state_of_cache(folders(None).cache)}")
    click.get_current_context().exit(0 if found.works else 1)


def _say(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)  # above the progress bar


@contextmanager
def _bar() -> Iterator[Callable[[int], None]]:
    """Show a progress bar if the output is a terminal."""
    from tqdm import tqdm

    form = "building: {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=100, bar_format=form, leave=False, disable=None, delay=1.0) as bar:

        def show(percent: int) -> None:
            bar.update(percent - bar.n)

        yield show
