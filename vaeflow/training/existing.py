"""The config and the components of a run that exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.errors import PluginError, UsageError
from vaeflow.plugins.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.config.resolve import Resolved
    from vaeflow.config.sources import Overrides
    from vaeflow.plugins.discovery import Plugin
    from vaeflow.training.run_files.directory import RunDirectory


def resolve_run(directory: RunDirectory, modules: Sequence[Plugin], settings: Overrides = ()) -> Resolved:
    """Return the config and the components of an existing run.

    Args:
        directory: of the run.
        modules: plugins that are not installed, see `Registry.load`.
        settings: additional settings.

    Raises:
        UsageError: if components don't fit each other.
        PluginError: if a component is unknown; the message names plugins of the run that are missing now.
    """
    registry = Registry.load(modules)
    composed = compose(directory.config, settings)
    try:
        return resolve(composed, registry)
    except UsageError as error:
        absent = directory.origins() - {str(loaded.origin) for loaded in registry.loaded}
        if not absent:
            raise
        were = ", ".join(sorted(absent))
        raise PluginError(
            f"{error}. The run was made with {were}, which is missing now: install it, or load its module by --plugin"
        ) from error


def of_strategy(settings: Overrides) -> Overrides:
    """Return settings on top of a run's own config.

    Raises:
        UsageError: if one is of anything but the strategy.
    """
    for setting in settings:
        key = setting.partition("=")[0]
        if key.partition(".")[0] != "strategy":
            raise UsageError(f"{key}: a run is resumed with its original config; only strategy may change")
    return settings
