"""Find plugins and collect their components, one plugin at a time, so that a broken one can be named."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vaeflow.errors import PluginError, nearest
from vaeflow.plugins import hookspecs
from vaeflow.plugins.options import check_signature
from vaeflow.plugins.recipes import Recipe, read_recipes
from vaeflow.plugins.records import KINDS, Component, Origin
from vaeflow.plugins.registered import Registered
from vaeflow.plugins.tracing import timed, trace
from vaeflow.version import version_of_vaeflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pluggy

HOOKS = ("vaeflow_components", "vaeflow_recipes")
PREFIX = "vaeflow_"
Plugin = str | ModuleType | Component
"""A plugin as users give it: a module, its name or its file, or one of its components."""
BUILT_IN = ("vaeflow.components", "vaeflow.plots.builtin", "vaeflow.callbacks.builtin", "vaeflow.config.recipes")


@dataclass(frozen=True)
class Source:
    """A plugin that was found but not imported.

    Attributes:
        origin: where it is.
        load: imports it.
        demanded: whether a failure ends the command: the plugin is built in, or given by --plugin.
    """

    origin: Origin
    load: Callable[[], Any]
    demanded: bool


@dataclass(frozen=True)
class Loaded:
    """A plugin that was loaded.

    Attributes:
        origin: where it is from.
        file: its Python file, or None.
        hooks: those it implements.
        components: the (kind, name) of each of its components, sorted.
        recipes: its recipes, in the order of its hook.
    """

    origin: Origin
    file: str | None
    hooks: tuple[str, ...]
    components: tuple[tuple[str, str], ...]
    recipes: tuple[Recipe, ...] = ()


@dataclass(frozen=True)
class Broken:
    """A plugin that was found but could not be loaded.

    Attributes:
        origin: where it is.
        reason: what is wrong with it, one line.
        claimed: the (kind, name) of each component that it yielded before the error.
    """

    origin: Origin
    reason: str
    claimed: frozenset[tuple[str, str]] = frozenset()

    def __str__(self) -> str:
        return f"plugin {self.origin.full} was not loaded: {self.reason}"


def builtins() -> Iterator[Source]:
    """Yield the plugins that register the built-in components."""
    for module in BUILT_IN:
        origin = Origin(module, "vaeflow", version_of_vaeflow())
        yield Source(origin, partial(importlib.import_module, module), demanded=True)


def installed() -> Iterator[Source]:
    """Yield the plugins that installed distributions declare by entry points of the group `vaeflow`."""
    for point in importlib.metadata.entry_points(group=hookspecs.NAMESPACE):
        dist = point.dist
        origin = Origin(point.value, dist.name, dist.version) if dist else Origin(point.value)
        yield Source(origin, point.load, demanded=False)


def given(plugins: Iterable[Plugin]) -> tuple[list[str], list[Source]]:
    """Return plugins that were given: the names of modules, and sources of objects, which have no name to import.

    Args:
        plugins: names of modules and paths of .py files, as --plugin gives them; modules; `Component` objects.

    Raises:
        PluginError: if one is something else.
    """
    names: list[str] = []
    sources: list[Source] = []
    components: dict[str, list[Component]] = {}
    for plugin in plugins:
        if isinstance(plugin, str):
            names.append(plugin)
        elif isinstance(plugin, Component):
            components.setdefault(getattr(plugin.build, "__module__", "") or "Python", []).append(plugin)
        elif isinstance(plugin, ModuleType):
            sources.append(Source(Origin(plugin.__name__), partial(_itself, plugin), demanded=True))
        else:
            raise PluginError(
                f"plugins: {plugin!r} is neither a module, the name or path of one, nor a vaeflow.Component"
            )
    return names, [*sources, *(_of_components(module, found) for module, found in components.items())]


def _of_components(module: str, components: list[Component]) -> Source:
    plugin = ModuleType(module)
    plugin.vaeflow_components = hookspecs.hookimpl(lambda: components)  # type: ignore[attr-defined]  # made here
    return Source(Origin(module), lambda: plugin, demanded=True)


def _itself(module: ModuleType) -> ModuleType:
    return module


def named(module: str) -> Source:
    """Return the plugin that --plugin names.

    Args:
        module: a dotted module name, or the path of a .py file.
    """
    if module.endswith(".py"):
        path = Path(module).resolve()
        return Source(Origin(str(path)), lambda: _import_file(path), demanded=True)
    return Source(Origin(module), lambda: _import_module(module), demanded=True)


def collect(source: Source, manager: pluggy.PluginManager) -> tuple[list[Registered], Loaded | Broken | None]:
    """Import a plugin and collect its components.

    Args:
        source: the plugin.
        manager: what the plugin is registered with.

    Returns:
        The components and a `Loaded`; no components and a `Broken` if anything is wrong, because all components of a
        plugin are registered or none; no components and None if the plugin was loaded before.
    """
    found: list[Component] = []
    recipes: tuple[Recipe, ...] = ()
    trace(f"found {source.origin.full}")
    try:
        with timed(f"imported {source.origin.module}"):
            plugin = source.load()
        if manager.is_registered(plugin) or _file_of(plugin) in map(_file_of, manager.get_plugins()):
            return [], None
        hooks = _check_hooks(plugin)
        manager.register(plugin, source.origin.module)
        for returned in _returned(manager.hook.vaeflow_components, plugin):
            _take(returned, found)
        for returned in _returned(manager.hook.vaeflow_recipes, plugin):
            recipes = tuple(read_recipes(returned, source.origin))
    except (Exception, SystemExit) as error:  # noqa: BLE001 Whatever a plugin raises is reported in its name.
        reason = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        claimed = frozenset((component.kind, component.name) for component in found)
        broken = Broken(source.origin, " ".join(reason.split()), claimed)
        trace(str(broken))
        return [], broken
    names = tuple(sorted((component.kind, component.name) for component in found))
    listed = [f"{kind} {name}" for kind, name in (*names, *(("recipe", recipe.name) for recipe in recipes))]
    trace(f"{source.origin.module} has {', '.join(hooks)}: {', '.join(listed)}")
    loaded = Loaded(source.origin, getattr(plugin, "__file__", None), hooks, names, recipes)
    return [Registered(component, source.origin) for component in found], loaded


def _returned(hook: pluggy.HookCaller, plugin: Any) -> list[Any]:
    """Return what a plugin's implementation of a hook returns; an empty list if it has none."""
    return [one.function() for one in hook.get_hookimpls() if one.plugin is plugin]


def _file_of(plugin: Any) -> Path | object:
    """Return the plugin's file, or a unique object if it has none."""
    file = getattr(plugin, "__file__", None)
    return Path(file).resolve() if file else object()


def _take(returned: Any, found: list[Component]) -> None:
    """Check the records that a hook returned; `found` gets all records up to the first invalid one."""
    if not hasattr(returned, "__iter__"):
        raise PluginError(f"vaeflow_components must yield Component records, but returned {returned!r}")
    for record in returned:
        if not isinstance(record, Component):
            raise PluginError(f"vaeflow_components must yield Component records, but yielded {record!r}")
        if record.kind not in KINDS:
            raise PluginError(
                f"component {record.name!r} is of unknown kind {record.kind!r}; {nearest(record.kind, KINDS)}"
            )
        twice = any((one.kind, one.name) == (record.kind, record.name) for one in found)
        found.append(record)
        if twice:
            raise PluginError(f"it yields {record.kind} {record.name!r} twice")
        check_signature(record)


def _check_hooks(plugin: Any) -> tuple[str, ...]:
    """Return the names of a plugin's hooks; refuse misspelt and unmarked ones, which pluggy would never call."""
    hooks = [name for name, _ in inspect.getmembers(plugin, inspect.isroutine) if name.startswith(PREFIX)]
    for name in hooks:
        if name not in HOOKS:
            raise PluginError(f"unknown hook {name!r} (names {PREFIX}* are reserved for hooks); {nearest(name, HOOKS)}")
        if not hasattr(getattr(plugin, name), f"{hookspecs.NAMESPACE}_impl"):
            raise PluginError(f"{name} is not marked; write @hookimpl above it (from vaeflow import hookimpl)")
    if not hooks:
        raise PluginError(f"it has no hook; define one of: {', '.join(HOOKS)}")
    return tuple(hooks)


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        raise PluginError(f"there is no module {name!r}; for a file give its path, such as ./{name}.py") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise PluginError("there is no such file")
    name = f"vaeflow_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError("it can't be imported as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Data classes and type hints look up their module here.
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
