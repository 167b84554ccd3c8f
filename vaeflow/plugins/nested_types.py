"""Types of options that hold components or tables: a component, a dataclass, a pydantic model, or a list of these."""

from __future__ import annotations

import dataclasses
import types
from typing import Annotated, Any, Union, get_args, get_origin

from vaeflow.plugins.selected import Takes


def members(annotation: Any) -> tuple[Any, ...]:
    """Return the types that a union allows; of another type, the type itself. Lists and tables lose their constraints.

    >>> members(int | None)
    (<class 'int'>, <class 'NoneType'>)
    """
    origin = get_origin(annotation)
    if origin is Annotated and not kind_of(annotation) and is_nested(annotation):
        return members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return tuple(member for argument in get_args(annotation) for member in members(argument))
    return (annotation,)


def kind_of(annotation: Any) -> str | None:
    """Return the kind of component that a type takes; None if it takes none.

    >>> kind_of(Annotated[object, Takes("encoder")])
    'encoder'
    """
    found = (item.kind for item in getattr(annotation, "__metadata__", ()) if isinstance(item, Takes))
    return next(found, None)


def is_table(annotation: Any) -> bool:
    """Return whether a type is a table of a config: a dataclass or a pydantic model."""
    return isinstance(annotation, type) and (dataclasses.is_dataclass(annotation) or is_model(annotation))


def is_model(annotation: Any) -> bool:
    """Return whether a type is a pydantic model."""
    return hasattr(annotation, "__pydantic_validator__") and hasattr(annotation, "model_fields")


def names_in(table: Any) -> tuple[str, ...]:
    """Return the names of a table's fields that a config can set, in their order."""
    if is_model(table):
        return tuple(table.model_fields)
    return tuple(field.name for field in dataclasses.fields(table) if field.init)


def is_list(annotation: Any) -> bool:
    """Return whether a type is a tuple or a list with typed items."""
    return get_origin(annotation) in (tuple, list)


def item_types(annotation: Any, count: int) -> tuple[Any, ...] | None:
    """Return the types of a list's items.

    Args:
        annotation: the type of the list.
        count: number of items.

    Returns:
        A type per item; None if the type does not allow that many.

    >>> item_types(tuple[int, ...], 2), item_types(tuple[int, str], 2), item_types(tuple[int, str], 3)
    ((<class 'int'>, <class 'int'>), (<class 'int'>, <class 'str'>), None)
    """
    arguments = get_args(annotation)
    if get_origin(annotation) is list or Ellipsis in arguments:
        return arguments[:1] * count
    return arguments if len(arguments) == count else None


def is_nested(annotation: Any) -> bool:
    """Return whether values of a type may hold components or tables.

    >>> is_nested(tuple[Annotated[object, Takes("encoder")], ...]), is_nested(tuple[int, ...])
    (True, False)
    """
    if kind_of(annotation) or is_table(annotation):
        return True
    return any(is_nested(argument) for argument in get_args(annotation))
