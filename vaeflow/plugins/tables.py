"""Tables as options: the fields of a dataclass or a pydantic model, and their values."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

from vaeflow.errors import PluginError
from vaeflow.plugins.nested_types import is_list, is_model, is_table, members
from vaeflow.plugins.option import Option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def fields_of(table: Any) -> tuple[Option, ...]:
    """Return the fields of a table, in their order.

    Args:
        table: a dataclass or a pydantic model.

    Raises:
        PluginError: if the type of a field can't be resolved, or a field is called `name`.
    """
    try:
        found = _of_model(table) if is_model(table) else _of_dataclass(table)
    except Exception as error:
        raise PluginError(
            f"the type of a field of {table.__name__} can't be resolved at run time ({error}); import what it names "
            "outside of TYPE_CHECKING"
        ) from error
    if any(option.name == "name" for option in found):
        raise PluginError(f"a field of {table.__name__} can't be called 'name', which selects a component in a config")
    return found


def fields_inside(option: Option, outer: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any, Option]]:
    """Yield each field of the tables that an option holds: its path, its table and the field.

    Args:
        option: of a component or of a table.
        outer: the tables that hold it, which are not listed again.

    >>> @dataclasses.dataclass
    ... class Level:
    ...     latent_size: int = 2
    >>> [(path, str(field)) for path, _, field in fields_inside(Option("levels", tuple[Level, ...], ()))]
    [('levels[].latent_size', 'latent_size: int = 2')]
    """
    for path, table in _tables_in(option.annotation):
        for field in fields_of(table) if table not in outer else ():
            inner = f"{option.name}{path}."
            yield f"{inner}{field.name}", table, field
            yield from ((f"{inner}{below}", *rest) for below, *rest in fields_inside(field, (*outer, table)))


def parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values in a list or a table, each with its path: `[0]` or `.encoder`. Other values have none."""
    if isinstance(value, (tuple, list)):
        yield from ((f"[{number}]", item) for number, item in enumerate(value))
    elif is_table(type(value)):
        yield from ((f".{option.name}", getattr(value, option.name)) for option in fields_of(type(value)))


def _tables_in(annotation: Any) -> Iterator[tuple[str, Any]]:
    """Yield each table that a type holds, with its path: `[]` stands for the number of an item."""
    for member in members(annotation):
        if is_table(member):
            yield "", member
        elif is_list(member):
            for item in dict.fromkeys(get_args(member)):
                yield from ((f"[]{path}", table) for path, table in _tables_in(item))


def _of_dataclass(table: Any) -> tuple[Option, ...]:
    hints = get_type_hints(table, include_extras=True)
    return tuple(Option(one.name, hints[one.name], _default(one)) for one in dataclasses.fields(table) if one.init)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


def _of_model(table: Any) -> tuple[Option, ...]:
    fields: Mapping[str, Any] = table.model_fields
    return tuple(
        Option(
            name,
            Annotated[(one.annotation, *one.metadata)] if one.metadata else one.annotation,
            inspect.Parameter.empty if one.is_required() else one.get_default(call_default_factory=True),
        )
        for name, one in fields.items()
    )
