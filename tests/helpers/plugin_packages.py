"""Writes plugins as they are installed: a module and the metadata of a distribution on the import path."""

from __future__ import annotations

import importlib.metadata
import itertools
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

from helpers.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = "from vaeflow import Component, hookimpl\n"
GOOD = """
def resnet(x_shape: tuple[int, ...], *, depth: int = 32):
    '''Residual encoder.'''
    return ("resnet", x_shape, depth)

@hookimpl
def vaeflow_components():
    yield Component("encoder", "resnet", resnet)
"""
_numbers = itertools.count()


@dataclass
class Site:
    """A directory on the import path."""

    path: Path
    modules: list[str] = field(default_factory=list)

    def module(self, source: str, *, head: str = HEAD) -> str:
        """Write a module under a name that no other test has used, and return the name."""
        name = f"made_plugin_{next(_numbers)}"
        (self.path / f"{name}.py").write_text(head + dedent(source))
        self.modules.append(name)
        return name

    def install(
        self, source: str, distribution: str = "vaeflow-made", version: str = "1.2", *, head: str = HEAD
    ) -> str:
        """Write a module and a distribution with an entry point to it, and return the module's name."""
        name = self.module(source, head=head)
        info = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[vaeflow]\nmade = {name}\n")
        return name


@contextmanager
def site_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Yield an empty directory on the import path; its modules are forgotten afterwards."""
    path = folder / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(str(path))
    made = Site(path)
    yield made
    for name in made.modules:
        sys.modules.pop(name, None)
        sys.modules.pop(f"vaeflow_plugin_{name}", None)


@contextmanager
def without_packages() -> Iterator[None]:
    """Hide the packages of `plugins/`, which tests may find installed."""
    ours, points = {path.name for path in (ROOT / "plugins").iterdir()}, importlib.metadata.entry_points

    def others(**chosen: Any) -> importlib.metadata.EntryPoints:
        found = points(**chosen)
        return importlib.metadata.EntryPoints(one for one in found if not one.dist or one.dist.name not in ours)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "entry_points", others)
        yield
