"""Merge layers into one config: later layers override earlier ones, and the result is validated.

If a layer selects another component, the options of earlier layers are dropped, since they belong to the earlier
component. This holds for components in options of components, too. Setting `steps` clears `epochs` of earlier layers,
and vice versa.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from vaeflow.config.recipes import recipe
from vaeflow.config.schema import KINDS_OF_SELECTIONS, Config
from vaeflow.config.sources import COMMAND_LINE, OVERRIDES, Layer, layers
from vaeflow.config.values import require_representable
from vaeflow.errors import UsageError, nearest
from vaeflow.plugins.type_names import type_in_words, value_in_words

if TYPE_CHECKING:
    from pathlib import Path

    from vaeflow.config.sources import Overrides
    from vaeflow.plugins.recipes import Recipe

LENGTHS = ("epochs", "steps")


@dataclass(frozen=True)
class Composed:
    """A config and where its values were set.

    Attributes:
        config: the validated config; its components are not looked up yet.
        places: file or `command line` by dotted key, for the keys that were set.
        layers: all files, and `command line`, the lowest first; None if the config was made in Python.
    """

    config: Config
    places: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    layers: tuple[str, ...] | None = None

    def place(self, key: str) -> str | None:
        """Return the file or `command line` that set a key or the table above it; None for a default."""
        return _place(self.places, key)

    def set_with(self, key: str, other: str) -> bool:
        """Return whether a key was set in the layer that set another one, or in one above it."""
        if self.layers is None:  # a config in Python, which may be that of a run: every key is set there
            return bool(getattr(self.config, key) != Config.model_fields[key].default)
        place, others = self.place(key), self.place(other)
        if place is None:
            return False
        return others is None or self.layers.index(place) >= self.layers.index(others)


def compose(
    source: str | Path | Mapping[str, Any] | Config | None = None,
    overrides: Overrides = (),
    find: Callable[[str], Recipe] = recipe,
) -> Composed:
    """Compose a config from a recipe, TOML file or dict, and settings.

    Args:
        source: a recipe's name, the path of a TOML file, a dict with the keys of one, or a config; None for the
            defaults.
        overrides: settings such as `epochs=5`, or a dict of values by dotted key.
        find: returns the recipe of a name; those of plugins are found by `Registry.recipe`.

    Raises:
        UsageError: if there is no recipe of that name, a file can't be read, a key is unknown or a value isn't allowed.
            The message starts with the file or `command line`.

    >>> compose("mnist-2d", ["steps=10"]).config.steps
    10
    """
    if isinstance(source, Config):
        if not overrides:
            return Composed(source)
        source = source.model_dump(mode="json")
    return merge(layers(source, overrides, find))


def merge(found: Iterable[Layer]) -> Composed:
    """Merge layers, the lowest first, and validate the result.

    Raises:
        UsageError: if a key is unknown or a value isn't allowed.
    """
    tree: dict[str, Any] = {}
    places: dict[str, str] = {}
    found = list(found)
    for layer in found:
        _check_lengths(layer)
        _lay(tree, layer.tree, layer.place, places, "")
        for mine, other in (LENGTHS, LENGTHS[::-1]):
            if layer.tree.get(mine) not in (None, "none") and other not in layer.tree:
                tree.pop(other, None)
                places.pop(other, None)
    require_representable(tree, lambda key: _place(places, key))
    try:
        config = Config.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        raise _usage_error(error, places, tree) from None
    return Composed(config, MappingProxyType(places), tuple(layer.place for layer in found))


def _check_lengths(layer: Layer) -> None:
    if all(layer.tree.get(key) not in (None, "none") for key in LENGTHS):
        raise UsageError(f"{layer.place}: epochs and steps are both set; a run's length is one or the other")


def _lay(tree: dict[str, Any], upper: Mapping[str, Any], place: str, places: dict[str, str], prefix: str) -> None:
    """Merge a layer's table into `tree`, in place."""
    for key, value in upper.items():
        dotted = f"{prefix}{key}"
        under, over, selects = tree.get(key), value, key in KINDS_OF_SELECTIONS
        if prefix:
            under, over, selects = _option(prefix, under, value)
        elif selects and isinstance(value, str):
            over = {"name": value}
        if not isinstance(over, Mapping):
            _clear(places, dotted)
            tree[key], places[dotted] = over, place
            continue
        if not isinstance(under, dict) or (selects and over.get("name", under.get("name")) != under.get("name")):
            _clear(places, dotted)
            under = {}
        tree[key] = under
        places[dotted] = place
        _lay(under, over, place, places, f"{dotted}.")


def _option(prefix: str, under: Any, over: Any) -> tuple[Any, Any, bool]:
    """Return two values of a key below a table, and whether they select components.

    The options' types are not known here: a table with a name selects a component, which a text names, too.
    """
    if prefix.partition(".")[0] not in KINDS_OF_SELECTIONS or "none" in (under, over):
        return under, over, False
    if isinstance(under, str) and isinstance(over, Mapping):
        return {"name": under}, over, True
    selects = isinstance(under, dict) and "name" in under
    return under, {"name": over} if selects and isinstance(over, str) else over, selects


def _clear(places: dict[str, str], dotted: str) -> None:
    for key in [key for key in places if key == dotted or key.startswith(f"{dotted}.")]:
        del places[key]


def _place(places: Mapping[str, str], key: str) -> str | None:
    """Return the place of a key, or of the nearest table or list above it."""
    while key not in places and key:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return places.get(key)


def _usage_error(error: ValidationError, places: Mapping[str, str], tree: Mapping[str, Any]) -> UsageError:
    """Turn the first error of pydantic into one line."""
    first = error.errors()[0]
    if not first["loc"]:
        return _contradiction(first["msg"].removeprefix("Value error, "), places)
    key, message = _key_and_message(first["loc"], tree)
    place = _place(places, key)
    return UsageError(f"{place}: {key}: {message}" if place else f"{key}: {message}")


def _contradiction(message: str, places: Mapping[str, str]) -> UsageError:
    """Return an error about contradicting keys, with a file or `command line` that set one of them."""
    set_in = [place for key, place in places.items() if key in message]
    place = next((one for one in (COMMAND_LINE, OVERRIDES) if one in set_in), next(iter(set_in), None))
    return UsageError(f"{place}: {message}" if place else message)


def _key_and_message(loc: tuple[int | str, ...], tree: Mapping[str, Any]) -> tuple[str, str]:
    """Return the dotted key that an error is about, and the message."""
    model: type[BaseModel] = Config
    value: Any = tree
    key, allowed = "", "a table"
    for depth, part in enumerate(map(str, loc), start=1):
        key = ".".join(map(str, loc[:depth]))
        known = model.model_fields.get(part)
        if known is None:
            return key, f"unknown key; {nearest(part, model.model_fields)}"
        if part not in value:
            return key, "is missing: name a component"
        value, inner = value[part], known.annotation
        allowed = type_in_words(inner, known.metadata)
        if not isinstance(value, Mapping):
            break
        if part in KINDS_OF_SELECTIONS and "name" not in value:
            return f"{key}.name", "is missing: name a component"
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return key, f"{value_in_words(value)} is not {allowed}"
