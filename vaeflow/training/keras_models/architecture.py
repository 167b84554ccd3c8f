"""What a saved model is built from: its part of the config, the shape of an example, and its plugins."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import tomli_w

from vaeflow.config.compose import merge
from vaeflow.config.resolve import resolve
from vaeflow.config.sources import Layer
from vaeflow.errors import PluginError, UsageError
from vaeflow.files.read import parse_toml
from vaeflow.plugins import discovery
from vaeflow.plugins.records import MODEL_KEYS, Component
from vaeflow.plugins.registry import Registry
from vaeflow.version import version_of_vaeflow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vaeflow.config.resolve import Resolved
    from vaeflow.plugins.discovery import Plugin
    from vaeflow.plugins.records import Origin

PARTS = ("model", *MODEL_KEYS)
"""Keys of the config that select what a model is made of."""

KEYS = ("name", "seed", "precision", "condition", *PARTS)
"""Keys of the config that are saved: those that `vaeflow.training.build_model` uses."""

PLACE = "the saved model"

_log = logging.getLogger("vaeflow")


@dataclass(frozen=True)
class Needed:
    """A plugin that a model needs.

    Attributes:
        module: its module, or the name of its .py file.
        distribution: what to install; None if the plugin was not installed.
        version: of the distribution.
        components: what the model has of it, as (kind, name).
    """

    module: str
    distribution: str | None
    version: str | None
    components: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        name = f"{self.distribution} {self.version} (module {self.module})" if self.distribution else self.module
        return f"{name} for its {' and '.join(f'{kind} {name!r}' for kind, name in self.components)}"

    def here(self) -> list[Plugin]:
        """Return the plugin if it is given in Keras's `custom_objects`, installed or imported; else an empty list.

        A file of a model may come from anyone, so no module is imported because a file names it.
        """
        given: list[Plugin] = [keras.saving.get_registered_object(name) for _, name in self.components]
        if all(isinstance(one, Component) for one in given):
            return given
        if any(source.origin.module == self.module for source in discovery.installed()):
            return [self.module]
        imported: list[Plugin] = [name for name, file in _imported() if self.module in (name, file)]
        return imported[:1]


@dataclass(frozen=True)
class Architecture:
    """What a network is built from, as plain data.

    Attributes:
        config: the part of the config that selects it, TOML.
        x_shape: X, the shape of one example.
        classes: C of a conditional model, else 0.
        plugins: those that it needs.
        vaeflow: the version that made it.
    """

    config: str
    x_shape: tuple[int, ...]
    classes: int
    plugins: tuple[Needed, ...]
    vaeflow: str

    @classmethod
    def of(cls, resolved: Resolved, x_shape: tuple[int, ...], classes: int) -> Architecture:
        """Return the architecture of a config for examples of a shape, with C classes."""
        tree = {key: value for key, value in resolved.tree().items() if key in KEYS}
        return cls(tomli_w.dumps(tree), tuple(x_shape), classes, tuple(_needed(resolved)), version_of_vaeflow())

    def to_config(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        plugins = [{**asdict(one), "components": [list(pair) for pair in one.components]} for one in self.plugins]
        return {**asdict(self), "x_shape": list(self.x_shape), "plugins": plugins}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture:
        """Return what `to_config` wrote.

        Raises:
            UsageError: if a value is missing or of another type.
        """
        try:
            names = [tuple((str(kind), str(name)) for kind, name in one["components"]) for one in config["plugins"]]
            plugins = tuple(
                Needed(**{**one, "components": own}) for one, own in zip(config["plugins"], names, strict=True)
            )
            shape = tuple(int(size) for size in config["x_shape"])
            return cls(str(config["config"]), shape, int(config["classes"]), plugins, str(config["vaeflow"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{PLACE}: its config is corrupt: {type(error).__name__}: {error}") from error

    def resolved(self) -> Resolved:
        """Return the config and the components that it selects.

        Raises:
            PluginError: if a plugin is not here.
            UsageError: if the config is not valid for the vaeflow that is installed.
        """
        plugins: list[Plugin] = []
        for needed in self.plugins:
            here = needed.here()
            if not here:
                raise PluginError(
                    f"{PLACE} needs the plugin {needed}, which is not here: install it, import its module before the "
                    "model is loaded, or give its vaeflow.Component by name in custom_objects"
                )
            plugins += here
        registry = Registry.load(plugins)
        self._warn({loaded.origin.distribution: loaded.origin for loaded in registry.loaded})
        return resolve(merge([Layer(PLACE, parse_toml(self.config, PLACE))]), registry)

    def _warn(self, found: Mapping[str | None, Origin]) -> None:
        """Warn if the packages have other versions than where the model was saved."""
        versions = {"vaeflow": self.vaeflow, **{one.distribution: one.version for one in self.plugins}}
        for name, version in versions.items():
            now = version_of_vaeflow() if name == "vaeflow" else found[name].version if name in found else version
            if name is not None and now != version:
                _log.warning("vaeflow: warning: %s was made with %s %s; here is %s", PLACE, name, version, now)


def _needed(resolved: Resolved) -> Iterator[Needed]:
    components = [bound for key, bound in resolved.components().items() if key.split(".")[0] in PARTS]
    origins = dict.fromkeys(bound.registered.origin for bound in components)
    for origin in origins:
        if origin.distribution == "vaeflow":
            continue
        own = [bound.component for bound in components if bound.registered.origin == origin]
        names = [(one.kind, one.name) for one in own]
        module = Path(origin.module).name if origin.module.endswith(".py") else origin.module
        yield Needed(module, origin.distribution, origin.version, tuple(dict.fromkeys(names)))


def _imported() -> Iterator[tuple[str, str | None]]:
    """Yield the name and the file's name of each imported module that has a hook of vaeflow."""
    for name, module in list(sys.modules.items()):
        if any(hook in getattr(module, "__dict__", {}) for hook in discovery.HOOKS):
            file = getattr(module, "__file__", None)
            yield name, Path(file).name if file else None
