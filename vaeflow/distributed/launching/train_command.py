"""What is to be started: a recipe, its settings, and on how many processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.errors import UsageError, nearest
from vaeflow.plugins.registry import DISABLED_PREFIX, Registry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

STRATEGIES = ("horovod", "multiworker")
"""Strategies that join several processes."""


@dataclass(frozen=True)
class Training:
    """A call of `vaeflow train` that several processes make alike.

    Attributes:
        recipe: a recipe's name or the path of a TOML file.
        settings: `KEY=VALUE`.
        strategy: how the processes are joined.
        processes: how many there are.
        modules: plugins that are not installed.
        data_dir: the user's own directory of data sets.
    """

    recipe: str
    settings: tuple[str, ...]
    strategy: str
    processes: int
    modules: tuple[str, ...] = ()
    data_dir: Path | None = None

    @property
    def arguments(self) -> list[str]:
        """Arguments of `vaeflow train`, without the strategy and the run's directory."""
        options = plugin_options(self.modules)
        options += [f"--data-dir={self.data_dir}"] if self.data_dir else []
        return [self.recipe, *self.settings, *options]

    def check(self) -> None:
        """Check what `vaeflow train` would refuse, before a cluster is waited for. Imports no TensorFlow.

        Raises:
            UsageError: if the recipe, a setting or the strategy is wrong, or there are too many processes.
        """
        if self.strategy in ("mirrored", "single"):
            raise UsageError(
                f"--strategy: {self.strategy} uses one process: run vaeflow train {self.recipe} without a launcher"
            )
        if self.strategy not in STRATEGIES:
            raise UsageError(
                f"--strategy: {self.strategy!r} does not use several processes; {nearest(self.strategy, STRATEGIES)}"
            )
        registry = Registry.load(self.modules)
        composed = compose(self.recipe, [*self.settings, f"strategy.name={self.strategy}"], registry.recipe)
        config = resolve(composed, registry).config
        if config.microbatches != "auto" and self.processes > config.microbatches:
            raise UsageError(
                f"{self.processes} processes are more than microbatches = {config.microbatches}: some would be idle"
            )


def plugin_options(modules: Iterable[str]) -> list[str]:
    """Return the options of `vaeflow train` that load or disable plugins."""
    prefix = DISABLED_PREFIX
    return [
        f"--disable-plugin={one.removeprefix(prefix)}" if one.startswith(prefix) else f"--plugin={one}"
        for one in modules
    ]
