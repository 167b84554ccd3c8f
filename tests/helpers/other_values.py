"""For every key of a resolved config another value that it may have, generated from the schema and the components."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve, tree_of
from vaeflow.config.schema import KINDS_OF_LISTS, KINDS_OF_SELECTIONS, Config
from vaeflow.errors import UsageError
from vaeflow.training.provenance.record import flat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.config.resolve import Resolved
    from vaeflow.plugins.registry import Registry

CANDIDATES = {int: [1, 2, 3], float: [0.25, 0.5, 2.0], str: ["other", "another"], bool: [False, True]}


def keys_of(resolved: Resolved) -> set[str]:
    """Return every key of a resolved config, with dots; a list of components is one key."""
    keys = set(flat(tree_of(resolved.config)))
    inside = {key: name for key in keys for name in KINDS_OF_LISTS if key.startswith(f"{name}[")}
    return {inside.get(key, key) for key in keys}


def other_settings(common: list[str], registry: Registry) -> dict[str, list[str]]:
    """Return for each key of a config settings that give it another value and are valid.

    Args:
        common: settings of the config on top of the recipe mnist-2d.
        registry: the components there are.
    """
    usual = resolve(compose("mnist-2d", common), registry)
    tree = flat(tree_of(usual.config))

    def changes(key: str, settings: list[str]) -> bool:
        try:
            other = resolve(compose("mnist-2d", [*common, *settings]), registry)
        except UsageError:
            return False
        return _below(key, flat(tree_of(other.config))) != _below(key, tree)

    def settings_of(key: str, value: Any) -> list[str]:
        selection, _, option = key.partition(".")
        named = option not in ("", "name") and selection in KINDS_OF_SELECTIONS
        name = [f"{selection}={getattr(usual, selection).name}"] if named else []
        return [*name, f"{key.removesuffix('.name')}={_toml(value)}"]

    found = {}
    for key, values in _candidates(usual, registry):
        settings = next((one for one in (settings_of(key, value) for value in values) if changes(key, one)), None)
        if settings is not None:  # there may be one component of a kind, as of priors
            found[key] = settings
    return found


def _below(key: str, tree: dict[str, Any]) -> dict[str, Any]:
    return {one: value for one, value in tree.items() if one == key or one.startswith((f"{key}.", f"{key}["))}


def _candidates(usual: Resolved, registry: Registry) -> Iterator[tuple[str, Iterator[Any]]]:
    yield from _of_model(Config, "")
    for key, kind in KINDS_OF_SELECTIONS.items():
        bound = getattr(usual, key)
        if not (key == "learning_rate" and not isinstance(getattr(usual.config, key), BaseModel)):
            yield f"{key}.name", (name for name in registry.names(kind) if name != "auto")  # it may mean the same
            for option in bound.registered.options():
                yield f"{key}.{option.name}", _values(option.annotation)
        else:
            yield key, iter([0.25])
    for key, kind in KINDS_OF_LISTS.items():
        yield key, ([{"name": name}] for name in registry.names(kind))


def _of_model(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Iterator[Any]]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        if key in KINDS_OF_SELECTIONS or key in KINDS_OF_LISTS:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _of_model(field.annotation, f"{key}.")
        else:
            yield key, _values(field.annotation)


def _values(annotation: Any) -> Iterator[Any]:
    """Yield values of a type; not all of them are within its bounds."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _values(arguments[0])
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _values(argument)
    elif origin is Literal:
        yield from arguments
    elif origin is tuple:
        for value in _values(arguments[0]):
            yield from ([value], [value, value])
    else:
        yield from CANDIDATES.get(annotation, ["none"])


def _toml(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[" + ", ".join(f'{{name = "{item["name"]}"}}' for item in value) + "]"
    return tomli_w.dumps({"value": value}, multiline_strings=False).partition("=")[2].strip().replace("\n", "")
