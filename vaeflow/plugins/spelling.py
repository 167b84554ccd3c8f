"""Options as a TOML file spells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_jsonable_python

from vaeflow.plugins.nested_types import is_table
from vaeflow.plugins.selected import Selected
from vaeflow.plugins.tables import fields_of


def as_toml(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a TOML file spells them: lists for tuples, tables for components, 'none' for None.

    >>> from vaeflow.plugins.selected import select
    >>> as_toml({"hidden": (200, 100), "weight_decay": None, "inner": select("mlp", depth=2)})
    {'hidden': [200, 100], 'weight_decay': 'none', 'inner': {'name': 'mlp', 'depth': 2}}
    """
    return {name: spelled(value) for name, value in options.items()}


def spelled(value: Any) -> Any:
    """Return a value as a TOML file spells it."""
    if value is None:
        return "none"
    if isinstance(value, Selected):
        return {"name": value.name, **as_toml(value.options)}
    if isinstance(value, (tuple, list)):
        return [spelled(item) for item in value]
    if is_table(type(value)):
        return {option.name: spelled(getattr(value, option.name)) for option in fields_of(type(value))}
    if isinstance(value, Mapping):
        return as_toml(value)
    return to_jsonable_python(value)


def over(default: Any, given: Any) -> Any:
    """Return a given table over a default one: a table without a name keeps what it does not set.

    Args:
        default: as TOML.
        given: as TOML.

    >>> over({"name": "mlp", "depth": 2, "width": 3}, {"width": 4})
    {'name': 'mlp', 'depth': 2, 'width': 4}
    >>> over({"name": "mlp", "depth": 2}, {"name": "conv"})
    {'name': 'conv'}
    """
    if not (isinstance(default, Mapping) and isinstance(given, Mapping)) or "name" in given:
        return given
    return {**default, **{key: over(default.get(key), value) for key, value in given.items()}}
