"""The components of one run by kind and name, and the recipes by name."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from vaeflow.errors import PluginError, UsageError, nearest
from vaeflow.plugins import discovery, hookspecs
from vaeflow.plugins.defaults import require_finite
from vaeflow.plugins.discovery import Loaded
from vaeflow.plugins.recipes import unknown
from vaeflow.plugins.records import KINDS
from vaeflow.plugins.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vaeflow.plugins.discovery import Broken, Plugin, Source
    from vaeflow.plugins.recipes import Recipe
    from vaeflow.plugins.records import Origin
    from vaeflow.plugins.registered import Bound, Registered

_log = logging.getLogger("vaeflow")

DISABLED_PREFIX = "no:"
"""Prefix of a name among the modules that disables this installed plugin."""


class Selecting(Protocol):
    """What names a component and gives options: see `vaeflow.config.schema.Selection`."""

    @property
    def name(self) -> str:
        """The component's name."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The options that were given."""


class Registry:
    """All components and recipes, and the plugins that could not be loaded.

    Create one per run by `Registry.load`; there is no global registry.

    Attributes:
        modules: what --plugin named, and `no:NAME` for what --disable-plugin did.
        broken: plugins that were found but could not be loaded.
        loaded: plugins that were loaded.
        disabled: installed plugins that were disabled.
    """

    def __init__(
        self,
        components: Iterable[Registered],
        broken: Iterable[Broken] = (),
        modules: Iterable[str] = (),
        *,
        loaded: Iterable[Loaded] = (),
        disabled: Iterable[Origin] = (),
    ) -> None:
        self.modules = tuple(modules)
        self.broken, self.loaded, self.disabled = list(broken), list(loaded), list(disabled)
        self._components: dict[tuple[str, str], Registered] = {}
        for registered in components:
            self._add(registered)
        self._recipes: dict[str, Recipe] = {}
        for recipe in (one for plugin in self.loaded for one in plugin.recipes):
            self._add_recipe(recipe)

    @classmethod
    def load(cls, plugins: Iterable[Plugin] = ()) -> Registry:
        """Load the built-ins, the installed plugins and those that are given.

        If an installed plugin is broken, a warning names it and it is skipped.

        Args:
            plugins: dotted names or paths of .py files, as --plugin gives them; `no:NAME` disables the installed
                distribution (or module) of that name. From Python also modules and `Component` objects.

        Raises:
            UsageError: if a plugin that is to be disabled is not installed.
            PluginError: if a named plugin is broken, two plugins hold a component of one kind and name, or a recipe
                of one name, or defaults select components without end.
        """
        manager = pluggy.PluginManager(hookspecs.NAMESPACE)
        manager.add_hookspecs(hookspecs)
        components: list[Registered] = []
        broken: list[Broken] = []
        loaded: list[Loaded] = []
        modules, objects = discovery.given(plugins)
        sources, disabled = _sources(modules)
        for source in (*sources, *objects):
            found, what = discovery.collect(source, manager)
            components += found
            if isinstance(what, Loaded):
                loaded.append(what)
            elif what is not None:
                if source.demanded:
                    raise PluginError(str(what))
                _log.warning("vaeflow: warning: %s", what)
                broken.append(what)
        registry = cls(components, broken, modules, loaded=loaded, disabled=disabled)
        for registered in registry.all():
            require_finite(registered)
        return registry

    def all(self) -> list[Registered]:
        """Return every component, by the order of the kinds, then by name."""
        order = list(KINDS)
        return sorted(self._components.values(), key=lambda r: (order.index(r.component.kind), r.component.name))

    def names(self, kind: str) -> list[str]:
        """Return the names of the components of a kind, sorted.

        Raises:
            UsageError: if there is no such kind.
        """
        if kind not in KINDS:
            raise UsageError(f"unknown kind {kind!r}; {nearest(kind, KINDS)}")
        return sorted(name for of_kind, name in self._components if of_kind == kind)

    def get(self, kind: str, name: str, where: str = "") -> Registered:
        """Return a component.

        Args:
            kind: one of `KINDS`.
            name: the component's name.
            where: the place in the config, for the error.

        Raises:
            UsageError: if there is none of that kind and name.
            PluginError: the same, where a plugin that could not be loaded may be the cause.
        """
        known = self.names(kind)
        if (kind, name) in self._components:
            return self._components[kind, name]
        place = f"{where}: " if where else ""
        for broken in self.broken:
            if (kind, name) in broken.claimed:
                raise PluginError(f"{place}{kind} {name!r} can't be used: {broken}")
        message = f"{place}unknown {kind} {name!r}; {nearest(name, known)}"
        raise self._unknown(message)

    def recipes(self) -> list[Recipe]:
        """Return every recipe: the built-in ones by name, then those of plugins by name."""
        return sorted(self._recipes.values(), key=lambda one: (one.origin.distribution != "vaeflow", one.name))

    def recipe(self, name: str) -> Recipe:
        """Return a recipe.

        Raises:
            UsageError: if there is none of that name.
            PluginError: the same, where a plugin that could not be loaded may be the cause.
        """
        if name not in self._recipes:
            raise self._unknown(unknown(name, self._recipes))
        return self._recipes[name]

    def bind(self, kind: str, selection: Selecting, where: str = "") -> Bound:
        """Look up a selection's component and validate its options.

        Args:
            kind: one of `KINDS`.
            selection: a name and options.
            where: the place in the config, for errors; the kind if it is empty.

        Raises:
            UsageError: if the name or an option is unknown, or a value is of the wrong type.
            PluginError: if the component's plugin is broken.
        """
        place = where or kind
        trace(f"{place} is {selection.name}")
        bound = self.get(kind, selection.name, place).bind(selection.options, place)
        for path, inner in bound.nested().items():
            trace(f"{place}.{path} is {inner.name}")
        return bound

    def _add(self, registered: Registered) -> None:
        key = (registered.component.kind, registered.component.name)
        other = self._components.get(key)
        if other is not None:
            raise PluginError(
                f"{key[0]} {key[1]!r} is registered twice: by {other.origin.full} and by {registered.origin.full}; "
                "uninstall one or rename its component"
            )
        self._components[key] = replace(registered, find=self.get)

    def _add_recipe(self, recipe: Recipe) -> None:
        other = self._recipes.get(recipe.name)
        if other is not None:
            raise PluginError(
                f"recipe {recipe.name!r} is registered twice: by {other.origin.full} and by {recipe.origin.full}; "
                "uninstall one or rename its file"
            )
        self._recipes[recipe.name] = recipe

    def _unknown(self, message: str) -> UsageError:
        """Return the error about an unknown name, with the plugins that may be the cause."""
        if self.disabled:
            message += f"; disabled by --disable-plugin: {', '.join(map(str, self.disabled))}"
        if self.broken:
            return PluginError(f"{message}; {'; '.join(map(str, self.broken))}")
        return UsageError(message)


def _sources(modules: Sequence[str]) -> tuple[list[Source], list[Origin]]:
    """Return the plugins to load, and the disabled ones; plugins given by name come before installed ones."""
    installed = list(discovery.installed())
    by_module = {source.origin.module: replace(source, demanded=True) for source in installed}
    wanted = [module for module in dict.fromkeys(modules) if not module.startswith(DISABLED_PREFIX)]
    named = [by_module.get(module) or discovery.named(module) for module in wanted]
    unwanted = {module.removeprefix(DISABLED_PREFIX) for module in modules if module.startswith(DISABLED_PREFIX)}
    names = {name for source in installed for name in _names(source.origin)}
    for name in sorted(unwanted - names):
        raise UsageError(f"--disable-plugin: no plugin {name!r} is installed; {nearest(name, names)}")
    disabled = [source.origin for source in installed if unwanted & _names(source.origin)]
    for origin in disabled:
        trace(f"disabled {origin.full}")
    kept = [source for source in installed if not unwanted & _names(source.origin)]
    return [*discovery.builtins(), *named, *kept], disabled


def _names(origin: Origin) -> set[str]:
    """Return the names of a plugin for --disable-plugin: its distribution and its module."""
    return {name for name in (origin.distribution, origin.module) if name}
