"""A config to the components it names: what a run is started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomli_w

from vaeflow.config import KINDS_OF_SELECTIONS, Config, Selection
from vaeflow.config_layers import Composed
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vaeflow.plugins.registered import Bound
    from vaeflow.plugins.registry import Registry


@dataclass(frozen=True)
class Resolved:
    """A config whose components exist and take their options.

    Attributes:
        config: the config, with every option of every component filled in.
        callbacks: the callbacks, in the order they are called.
        learning_rate: of kind learning_rate; a plain number in the config is the component `constant`.
        kl_schedule: of kind schedule.
    """

    config: Config
    dataset: Bound
    binarization: Bound
    encoder: Bound
    decoder: Bound
    posterior: Bound
    prior: Bound
    likelihood: Bound
    objective: Bound
    kl_schedule: Bound
    optimizer: Bound
    learning_rate: Bound
    strategy: Bound
    callbacks: tuple[Bound, ...]

    def to_toml(self) -> str:
        """Return the config as a TOML file that composes to the same config: every key, every option."""
        return to_toml(self.config)


def resolve(config: Config | Composed, registry: Registry) -> Resolved:
    """Look up every component that a config names and validate its options. Imports no TensorFlow.

    Args:
        config: the config; composed, its errors tell the file or the command line.
        registry: the components there are.

    Raises:
        UsageError: if a component or an option is unknown, missing or of the wrong type.
        PluginError: if a component's plugin is broken.
    """
    composed = config if isinstance(config, Composed) else Composed(config)
    bound = {key: _bind(composed, registry, key) for key in KINDS_OF_SELECTIONS}
    callbacks = tuple(_bind_callback(composed, registry, number) for number in range(len(composed.config.callbacks)))
    return Resolved(config=_filled(composed.config, bound, callbacks), **bound, callbacks=callbacks)


def to_toml(config: Config) -> str:
    """Return a config as TOML, None spelled 'none'.

    >>> print(to_toml(Config(name="short", steps=10)).splitlines()[2])
    epochs = "none"
    """
    return tomli_w.dumps(_spell(config.model_dump(mode="json")))


def _bind(composed: Composed, registry: Registry, key: str) -> Bound:
    selected = getattr(composed.config, key)
    if not isinstance(selected, Selection):
        selected = Selection.model_validate({"name": "constant", "value": selected})
    return _placed(composed, lambda: registry.bind(KINDS_OF_SELECTIONS[key], selected, key))


def _bind_callback(composed: Composed, registry: Registry, number: int) -> Bound:
    selected = composed.config.callbacks[number]
    return _placed(composed, lambda: registry.bind("callback", selected, f"callbacks.{number}"))


def _placed(composed: Composed, bind: Callable[[], Bound]) -> Bound:
    """Put the file or the command line in front of an error, which starts with the key that it is about."""
    try:
        return bind()
    except UsageError as error:
        key = str(error).partition(":")[0]
        place = composed.place(f"{key}.name" if key in KINDS_OF_SELECTIONS else key)
        if place is None:
            raise
        raise type(error)(f"{place}: {error}") from error


def _filled(config: Config, bound: Mapping[str, Bound], callbacks: tuple[Bound, ...]) -> Config:
    """Return the config with all options written out."""
    update: dict[str, Any] = {
        key: _written_out(one) for key, one in bound.items() if isinstance(getattr(config, key), Selection)
    }
    return config.model_copy(update={**update, "callbacks": tuple(map(_written_out, callbacks))})


def _written_out(bound: Bound) -> Selection:
    return Selection.model_validate({"name": bound.name, **bound.toml_options()})


def _spell(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spell(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spell(item) for item in value]
    return "none" if value is None else value
