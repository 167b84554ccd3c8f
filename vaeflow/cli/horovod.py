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
    help="What its operations run on: Gloo on the CPU, NCCL too with cuda. Example: --device cpu",
)
@click.option("--rebuild", is_flag=True, help="Build and install anew, whatever is installed or cached.")
@click.option("--if-possible", is_flag=True, help="Where it can't be installed, say why in one line and end with 0.")
def install(device: Device, rebuild: bool, if_possible: bool) -> None:
    """Install Horovod into this Python.

    Gets the sources from the package registry that pip is set up for, checks them by checksum, and builds them for the
    TensorFlow that is here. It takes minutes and needs a C++ compiler and make. The wheel is kept in vaeflow's cache,
    so that the next environment has it in seconds.

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
    """Say whether Horovod is installed and can be imported, and which wheel the cache has for this Python.

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

    tqdm.write(line, file=sys.stderr)  # above the bar, where there is one


@contextmanager
def _bar() -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal once there is something to show, and nothing elsewhere."""
    from tqdm import tqdm

    form = "building: {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=100, bar_format=form, leave=False, disable=None, delay=1.0) as bar:

        def show(percent: int) -> None:
            bar.update(percent - bar.n)

        yield show
