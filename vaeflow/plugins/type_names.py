"""Describe types and values in error messages."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from vaeflow.echo import shown
from vaeflow.plugins.nested_types import is_table, kind_of, names_in

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "none",
}
BOUNDS = {"gt": "greater than {}", "ge": "of at least {}", "lt": "less than {}", "le": "of at most {}"}
LENGTHS = {"min_length": "of length {} or more", "max_length": "of length {} or less"}


def value_in_words(value: object) -> str:
    """Return a value as a message shows it: as TOML spells it, and short.

    >>> value_in_words(True), value_in_words("x"), value_in_words(None)
    ('true', "'x'", 'none')
    """
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else shown(value)


def type_in_words(annotation: Any, metadata: Iterable[object] = ()) -> str:
    """Return what a type allows.

    Args:
        annotation: the type, with all strings in it resolved.
        metadata: constraints on it, such as `annotated_types.Gt(0)`.

    >>> from pydantic import Field
    >>> type_in_words(Annotated[int, Field(ge=1)] | Literal["auto"])
    "a whole number of at least 1 or 'auto'"
    >>> type_in_words(tuple[float, ...] | None)
    'a list (each: a number) or none'
    """
    origin = get_origin(annotation)
    if kind_of(annotation):
        return f"a component of kind {kind_of(annotation)}: a name or a table {{name = ...}}"
    if origin is Annotated:
        base, *extra = get_args(annotation)
        return type_in_words(base, [*extra, *metadata])
    return f"{_base_in_words(annotation, origin)}{_constraints_in_words(metadata)}"


def _base_in_words(annotation: Any, origin: Any) -> str:
    arguments = get_args(annotation)
    if origin is Literal:
        return " or ".join(value_in_words(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(type_in_words(argument) for argument in arguments)
    if origin in (tuple, list):
        items = [type_in_words(argument) for argument in arguments if argument is not Ellipsis]
        uniform = origin is list or Ellipsis in arguments
        return f"a list (each: {items[0]})" if uniform else f"a list of {len(items)} ({'; '.join(items)})"
    if is_table(annotation) and not hasattr(annotation, "in_words"):
        return f"a table {{{', '.join(names_in(annotation))}}}"
    own = getattr(annotation, "in_words", getattr(annotation, "__name__", str(annotation)))
    return NAMES.get(annotation, own)


def _constraints_in_words(metadata: Iterable[object]) -> str:
    found = []
    for item in metadata:
        constraints = item.metadata if isinstance(item, FieldInfo) else [item]
        for constraint in constraints:
            for key, words in {**BOUNDS, **LENGTHS}.items():
                limit = getattr(constraint, key, None)
                if limit is not None:
                    found.append(words.format(limit))
    return f" {' and '.join(found)}" if found else ""


def admits_none(annotation: Any) -> bool:
    """Return whether None is one of a type's values; TOML has no null, so 'none' is written for it.

    >>> admits_none(int | None), admits_none(int)
    (True, False)
    """
    if get_origin(annotation) is Annotated:
        return admits_none(get_args(annotation)[0])
    return annotation is type(None) or type(None) in get_args(annotation)


def type_in_code(annotation: Any) -> str:
    """Return a type as written in code, without its constraints.

    >>> type_in_code(tuple[int, ...]), type_in_code(Annotated[int, "depth"] | None)
    ('tuple[int, ...]', 'int | None')
    >>> type_in_code(tuple[Annotated[int, "side"], ...])
    'tuple[int, ...]'
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        return type_in_code(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return " | ".join(type_in_code(argument) for argument in get_args(annotation))
    if annotation is type(None):
        return "None"
    if origin in (tuple, list):
        inner = ("..." if argument is Ellipsis else type_in_code(argument) for argument in get_args(annotation))
        return f"{origin.__name__}[{', '.join(inner)}]"
    if isinstance(annotation, type) and origin is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "")
