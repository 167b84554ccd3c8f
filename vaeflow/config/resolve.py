"""Look up the components that a config selects and validate their options."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import tomli_w

from vaeflow.config.compose import Composed
from vaeflow.config.schema import KINDS_OF_LISTS, KINDS_OF_SELECTIONS, Config, PlotsConfig, Selection
from vaeflow.config.values import require_representable
from vaeflow.errors import UsageError
from vaeflow.plugins.records import MODEL_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vaeflow.plugins.registered import Bound
    from vaeflow.plugins.registry import Registry

METRICS_OF_VAEFLOW = ("elbo", "log_likelihood", "kl", "active_units", "penalty")

ADDED = ("model", "condition", "skip_norm")
"""Keys that runs of earlier versions do not have. They are not written at their defaults, so such a run is the same.

So is `plots.formats`."""


@dataclass(frozen=True)
class Resolved:
    """A config whose components exist and whose options are valid.

    Attributes:
        config: the config, with every option of every component filled in.
        learning_rate: of kind learning_rate; a plain number in the config is the component `constant`.
        kl_schedule: of kind schedule.
        transforms: in the order they are applied.
        metrics: additional metrics of evaluations, with distinct names.
        plots: plots to draw, with distinct names.
        callbacks: in the order they are called.
        registry: the available components.
        places: where keys were set, see `Composed`.
    """

    config: Config
    dataset: Bound
    binarization: Bound
    model: Bound
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
    transforms: tuple[Bound, ...]
    metrics: tuple[Bound, ...]
    plots: tuple[Bound, ...]
    callbacks: tuple[Bound, ...]
    registry: Registry = field(repr=False, compare=False)
    places: Mapping[str, str] = field(repr=False, compare=False)

    def components(self) -> dict[str, Bound]:
        """Return every component in use by its key: `encoder`, `callbacks[0]`, `objective.discriminator`."""
        single = {key: getattr(self, key) for key in KINDS_OF_SELECTIONS if key not in self.unused}
        lists = {key: getattr(self, key.partition(".")[0]) for key in KINDS_OF_LISTS}
        outer = single | {f"{key}[{number}]": one for key, found in lists.items() for number, one in enumerate(found)}
        return outer | {f"{key}.{path}": one for key, bound in outer.items() for path, one in bound.nested().items()}

    @property
    def unused(self) -> tuple[str, ...]:
        """Keys of the config that the model does not use."""
        return _unused(self.model)

    def tree(self) -> dict[str, Any]:
        """Return the config as tables of TOML values, without the keys that the model does not use."""
        return {key: value for key, value in tree_of(self.config).items() if key not in self.unused}

    def to_toml(self) -> str:
        """Return the config as TOML with every option; composing it gives the same config."""
        return tomli_w.dumps(self.tree())


def resolve(config: Config | Composed, registry: Registry) -> Resolved:
    """Look up every component that a config names and validate its options. Imports no TensorFlow.

    Args:
        config: the config; for a `Composed` one, errors name the file or the command line.
        registry: the available components.

    Raises:
        UsageError: if a component or an option is unknown, missing or of the wrong type.
        PluginError: if a component's plugin is broken.
    """
    composed = config if isinstance(config, Composed) else Composed(config)
    require_representable(composed.config.model_dump(mode="python"), composed.place)
    model = _bind(composed, registry, "model")
    composed = _without_unused(composed, model)
    bound = {key: model if key == "model" else _bind(composed, registry, key) for key in KINDS_OF_SELECTIONS}
    lists = {key: _bind_list(composed, registry, key) for key in KINDS_OF_LISTS}
    config = _filled(composed.config, bound, lists)
    require_representable(config.model_dump(mode="python"), composed.place)  # options of plugins, and their defaults
    resolved = Resolved(
        config=config,
        **bound,
        transforms=lists["transforms"],
        metrics=lists["metrics"],
        plots=lists["plots.draw"],
        callbacks=lists["callbacks"],
        registry=registry,
        places=composed.places,
    )
    _require_different(resolved)
    _require_xla(resolved)
    return resolved


def to_toml(config: Config) -> str:
    """Return a config as TOML, with None written as 'none'.

    >>> print(to_toml(Config(name="short", steps=10)).splitlines()[2])
    epochs = "none"
    """
    return tomli_w.dumps(tree_of(config))


def tree_of(config: Config) -> dict[str, Any]:
    """Return a config as tables of TOML values, with None written as 'none' and without defaults of `ADDED`."""
    as_before: dict[str, Any] = {
        key: True for key, default in _defaults(ADDED).items() if getattr(config, key) == default
    }
    if config.plots.formats == PlotsConfig().formats:
        as_before["plots"] = {"formats"}
    return dict(_spell(config.model_dump(mode="json", exclude=as_before)))


def _bind(composed: Composed, registry: Registry, key: str) -> Bound:
    selected = getattr(composed.config, key)
    if not isinstance(selected, Selection):
        selected = Selection.model_validate({"name": "constant", "value": selected})
    return _placed(composed, lambda: registry.bind(KINDS_OF_SELECTIONS[key], selected, key))


def _bind_list(composed: Composed, registry: Registry, key: str) -> tuple[Bound, ...]:
    selected: tuple[Selection, ...] = selections_at(composed.config, key)
    kind = KINDS_OF_LISTS[key]
    return tuple(
        _placed(composed, lambda one=one, number=number: registry.bind(kind, one, f"{key}[{number}]"))  # type: ignore[misc]
        for number, one in enumerate(selected)
    )


def selections_at(config: Config, key: str) -> Any:
    """Return the value of a dotted key, one of `KINDS_OF_LISTS`."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _without_unused(composed: Composed, model: Bound) -> Composed:
    """Return the config with defaults for the keys that its model does not use.

    Raises:
        UsageError: if such a key was set with the model, or in a layer above it.
    """
    unused = _unused(model)
    for key in unused:
        if composed.set_with(key, "model"):
            used = ", ".join(model.component.uses) or "none of them"
            place = composed.place(key)
            raise UsageError(
                f"{f'{place}: ' if place else ''}{key} has no effect: model {model.name!r} does not use it "
                f"(of {', '.join(MODEL_KEYS)} it uses {used})"
            )
    return replace(composed, config=composed.config.model_copy(update=_defaults(unused)))


def _unused(model: Bound) -> tuple[str, ...]:
    return tuple(key for key in MODEL_KEYS if key not in model.component.uses)


def _require_different(resolved: Resolved) -> None:
    """Check that names are distinct: metrics are logged, and plots are saved, by name."""
    for key, found in (("metrics", resolved.metrics), ("plots.draw", resolved.plots)):
        names = [one.name for one in found]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"{key}: {name!r} is given twice")
    for metric in resolved.metrics:
        if metric.name in METRICS_OF_VAEFLOW:
            raise UsageError(f"metrics: {metric.name!r} is a built-in metric; rename the plugin's component")


def _require_xla(resolved: Resolved) -> None:
    unable = [one for one in resolved.components().values() if not one.component.xla]
    if resolved.config.xla and unable:
        raise UsageError(f"xla = true: {unable[0].registered.label} does not support XLA; set xla = false")


def _placed(composed: Composed, bind: Callable[[], Bound]) -> Bound:
    """Add the file or the command line to the front of an error, which starts with its key."""
    try:
        return bind()
    except UsageError as error:
        key = str(error).partition(":")[0]
        place = composed.place(f"{key}.name")  # of the component's name, if the key selects one
        if place is None:
            raise
        raise type(error)(f"{place}: {error}") from error


def _filled(config: Config, bound: Mapping[str, Bound], lists: Mapping[str, tuple[Bound, ...]]) -> Config:
    """Return the config with all options written out."""
    update: dict[str, Any] = {
        key: written_out(one) for key, one in bound.items() if isinstance(getattr(config, key), Selection)
    }
    return with_lists(config.model_copy(update=update), {key: map(written_out, one) for key, one in lists.items()})


def with_lists(config: Config, lists: Mapping[str, Iterable[Selection]]) -> Config:
    """Return a config with other lists of components, by the keys of `KINDS_OF_LISTS`."""
    update: dict[str, Any] = {}
    for key, found in lists.items():
        section, _, inner = key.partition(".")
        written = tuple(found)
        update[section] = getattr(config, section).model_copy(update={inner: written}) if inner else written
    return config.model_copy(update=update)


def _defaults(keys: Iterable[str]) -> dict[str, Any]:
    return {key: Config.model_fields[key].default for key in keys}


def written_out(bound: Bound) -> Selection:
    """Return a component with all its options."""
    return Selection.model_validate({"name": bound.name, **bound.toml_options()})


def _spell(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spell(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spell(item) for item in value]
    return "none" if value is None else value
