"""Sources of config values: recipes, TOML files, and KEY=VALUE on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.config.recipes import recipe
from vaeflow.errors import FileError, PluginError, UsageError
from vaeflow.files.read import DEEPEST, parse_toml, read_toml

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.plugins.recipes import Recipe

Overrides = Sequence[str] | Mapping[str, Any]
"""Settings such as `epochs=5`, or values by dotted key."""

COMMAND_LINE = "command line"
PYTHON, OVERRIDES = "config", "overrides"
"""Places of values that were given as dicts."""
BASE = "recipe"
"""Key of a TOML file, or of a recipe, that names the recipe on which it is based."""

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_TOML_TYPES = (bool, int, float, str, list, dict)


@dataclass(frozen=True)
class Layer:
    """Values from one source.

    Attributes:
        place: the file, or `command line`; errors start with it.
        tree: values by key, tables as nested mappings.
    """

    place: str
    tree: Mapping[str, Any]


def layers(
    source: str | Path | Mapping[str, Any] | None, overrides: Overrides = (), find: Callable[[str], Recipe] = recipe
) -> list[Layer]:
    """Return the layers of a config, the lowest first.

    Args:
        source: a recipe's name, or the path of a TOML file (it ends with .toml or contains a slash), or a dict with
            the keys of such a file. It may be based on a recipe by `recipe = "mnist-2d"`.
        overrides: settings such as `epochs=5` or `encoder.width=64`, or a dict of values by dotted key.
        find: returns the recipe of a name; those of plugins are found by `Registry.recipe`.

    Raises:
        UsageError: if there is no recipe of a name, recipes are based on each other, a file can't be read or isn't
            TOML, or an override isn't KEY=VALUE.
    """
    found = [] if source is None else _from_source(source, find)
    if not overrides:
        return found
    if isinstance(overrides, Mapping):
        return [*found, Layer(OVERRIDES, nested(overrides))]
    if isinstance(overrides, str):
        raise UsageError(f"overrides: {overrides!r} is a text, not a list of them, such as ['epochs=5']")
    return [*found, Layer(COMMAND_LINE, parse_overrides(overrides))]


def nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted key as a tree.

    Raises:
        UsageError: if a key isn't one, or is set both as a value and as a table.

    >>> nested({"epochs": 5, "encoder": "mlp", "encoder.hidden": (64, 64)})
    {'epochs': 5, 'encoder': {'name': 'mlp', 'hidden': [64, 64]}}
    """
    tree: dict[str, Any] = {}
    for key, value in overrides.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise UsageError(f"{OVERRIDES}: {key!r} is not a key, such as 'epochs' or 'encoder.width'")
        _put(tree, key.split("."), _plain(value))
    return tree


def _plain(value: Any) -> Any:
    """Return a value as TOML has it: dicts, lists, texts and numbers; 'none' for None."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the tree of values that settings give; if a key is set twice, the last value is used.

    A value is read as TOML, or as plain text if it isn't TOML.

    Raises:
        UsageError: if a setting isn't KEY=VALUE, or one key is set both as a value and as a table.

    >>> parse_overrides(["epochs=5", "encoder=mlp", "encoder.hidden=[64, 64]"])
    {'epochs': 5, 'encoder': {'name': 'mlp', 'hidden': [64, 64]}}
    """
    tree: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not _KEY.fullmatch(key):
            raise UsageError(
                f"{COMMAND_LINE}: {override!r} is not KEY=VALUE, such as epochs=5 or encoder.width=64 "
                "(without spaces around =)"
            )
        keys = key.split(".")
        if len(keys) > DEEPEST:
            raise UsageError(f"{COMMAND_LINE}: {key[:99]!r}...: nested deeper than {DEEPEST}")
        _put(tree, keys, parse_value(text, f"{COMMAND_LINE}: {key}"))
    return tree


def parse_value(text: str, place: str = "value") -> Any:
    """Return the value of a setting: TOML, or else plain text.

    Args:
        text: the text after the equals sign.
        place: the setting; errors start with it.

    Raises:
        UsageError: if it is nested too deep, or an integer has more than 64 bits.

    >>> [parse_value(text) for text in ("1e-3", "true", "[1, 2]", "mlp", '"5"')]
    [0.001, True, [1, 2], 'mlp', '5']
    """
    try:
        parsed = parse_toml(f"value = {text}", place)
    except FileError as error:
        if error.syntax:
            return text
        raise
    value = parsed["value"]
    return value if len(parsed) == 1 and isinstance(value, _TOML_TYPES) else text


def _from_source(source: str | Path | Mapping[str, Any], find: Callable[[str], Recipe]) -> list[Layer]:
    if isinstance(source, Mapping):
        return _with_base(PYTHON, _plain(source), find, ())
    is_file = isinstance(source, Path) or source.endswith(".toml") or "/" in source or "\\" in source
    if not is_file:
        return _from_recipe(str(source), find, ())
    return _with_base(str(source), read_toml(Path(source), follow=True), find, ())


def _from_recipe(name: str, find: Callable[[str], Recipe], above: tuple[str, ...]) -> list[Layer]:
    """Return the layers of a recipe; `above` are the recipes that are based on it."""
    if name in above:
        raise UsageError(f"recipes are based on each other: {' -> '.join([*above, name])}")
    found = find(name)
    return _with_base(found.place, parse_toml(found.text, found.place), find, (*above, name))


def _with_base(place: str, tree: dict[str, Any], find: Callable[[str], Recipe], above: tuple[str, ...]) -> list[Layer]:
    """Return a file's layer, on top of those of the recipe on which it is based."""
    base = tree.pop(BASE, None)
    top = Layer(place, tree)
    if base is None:
        return [top]
    if not isinstance(base, str):
        raise UsageError(f"{place}: {BASE}: {base!r} is not the name of a recipe, such as 'mnist-2d'")
    try:
        return [*_from_recipe(base, find, above), top]
    except PluginError as error:
        raise PluginError(f"{place}: {BASE}: {error}") from error
    except UsageError as error:
        raise UsageError(f"{place}: {BASE}: {error}") from error


def _put(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set a dotted key. `encoder=mlp` and `encoder.width=64` may be given in any order."""
    *parents, last = keys
    for depth, key in enumerate(parents, start=1):
        inner = tree.setdefault(key, {})
        if isinstance(inner, str):
            inner = tree[key] = {"name": inner}
        if not isinstance(inner, dict):
            outer = ".".join(keys[:depth])
            raise UsageError(f"{COMMAND_LINE}: {outer} is set to {inner!r}, so {'.'.join(keys)} can't be set")
        tree = inner
    if isinstance(value, str) and isinstance(tree.get(last), dict):
        tree[last]["name"] = value
    else:
        tree[last] = value
