"""Read options that hold components or tables: look components up, validate options, fill in defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from vaeflow.errors import PluginError, UsageError, VaeflowError, nearest
from vaeflow.plugins.nested_types import is_list, is_nested, is_table, item_types, kind_of, members
from vaeflow.plugins.selected import Selected
from vaeflow.plugins.spelling import over, spelled
from vaeflow.plugins.tables import fields_of
from vaeflow.plugins.type_names import admits_none, type_in_words, value_in_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from vaeflow.plugins.option import Option


class Bindable(Protocol):
    """A registered component: see `vaeflow.plugins.registered.Registered`."""

    def bind(self, given: Mapping[str, Any], where: str, defaults: tuple[str, ...] = ()) -> Selected:
        """Validate options and keep them beside the component."""


class Find(Protocol):
    """Looks up a component: see `vaeflow.plugins.registry.Registry.get`."""

    def __call__(self, kind: str, name: str, where: str) -> Bindable:
        """Return the component of a kind and a name."""


class EndlessError(PluginError):
    """Defaults that select components whose defaults select them again, without end."""


@dataclass(frozen=True)
class Place:
    """Where a value stands in a config.

    Attributes:
        where: the path, such as `model.levels[1].encoder`.
        kind: of the component whose option it is.
        label: the component or the table, for errors.
        find: looks up components.
        defaults: the defaults that the value is a part of, from the outermost to the innermost.
    """

    where: str
    kind: str
    label: str
    find: Find
    defaults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slot:
    """An option at its place, or an item of its list.

    Attributes:
        place: of the component or the table, with the path of the value.
        option: the option.
        annotation: the type of the value: of the option, or of the item.
    """

    place: Place
    option: Option
    annotation: Any

    def __str__(self) -> str:
        return f"{self.place.label} takes {self.option}"

    @property
    def where(self) -> str:
        """The path of the value."""
        return self.place.where

    def item(self, number: int, annotation: Any) -> Slot:
        """Return the slot of an item."""
        return replace(self, place=replace(self.place, where=f"{self.where}[{number}]"), annotation=annotation)

    def in_default(self) -> Slot:
        """Return the slot inside of the option's default.

        Raises:
            EndlessError: if it is a part of that default already.
        """
        place = self.place
        key = f"{self.option.name} of {place.kind} {place.label}"
        if key in place.defaults:
            way = ", ".join([*place.defaults[place.defaults.index(key) :], key])
            raise EndlessError(f"defaults select each other without end: {way}")
        return replace(self, place=replace(place, defaults=(*place.defaults, key)))

    def refuse(self, value: Any) -> UsageError:
        """Return the error about a value that the type does not allow."""
        return UsageError(f"{self.where}: {value_in_words(value)} is not {type_in_words(self.annotation)} ({self})")

    def unusable(self) -> PluginError:
        """Return the error about a type that no config can hold."""
        return PluginError(f"{self.where}: {self}, a type that no config can hold")


def require_known(given: Iterable[str], known: Collection[str], where: str, label: str) -> None:
    """Check that a component or a table has the options that are given.

    Raises:
        UsageError: with the nearest name, if it does not have one.
    """
    for key in given:
        if key not in known:
            raise UsageError(f"{where}.{key}: {label} has no such option; {nearest(key, known)}")


def read_option(option: Option, given: Mapping[str, Any], place: Place) -> Any:
    """Return the value of an option: the one that is given, validated, or its default.

    Args:
        option: of a component or of a table.
        given: values by option, as a TOML file spells them.
        place: of the component or the table.

    Raises:
        UsageError: if a component, an option or a value is not allowed, or a required one is missing.
        PluginError: if the plugin breaks the rules, e.g. a default is not of its type.
    """
    slot = Slot(replace(place, where=f"{place.where}.{option.name}"), option, option.annotation)
    if option.name in given:
        return _read(given[option.name], slot)
    if option.required:
        words = type_in_words(option.annotation)
        raise UsageError(f"{slot.where}: missing, but {place.label} needs it: {option}, {words}")
    try:
        return _read(spelled(option.default), slot.in_default())
    except PluginError:
        raise
    except UsageError as error:
        raise PluginError(f"{error}; it is a default of {place.label}") from error


def _read(value: Any, slot: Slot) -> Any:
    if value == "none" and admits_none(slot.annotation):
        return None
    every = members(slot.annotation)
    nested = [member for member in every if is_nested(member)]
    if len(nested) > 1:
        raise PluginError(f"{slot.where}: {slot}; a union may have one component, table or list of these")
    if not nested:
        return _plain(slot.annotation, value, slot)
    if not _fits(nested[0], value) or _is_literal(every, value):
        others = tuple(member for member in every if member is not nested[0])
        if not others:
            raise slot.refuse(value)
        return _plain(Union[others], value, slot)  # noqa: UP007 The members are computed.
    built = _built(nested[0], value, slot)
    _require_constraints(built, value, slot)
    return built


def _built(member: Any, value: Any, slot: Slot) -> Any:
    """Return the component, the table or the list that a value stands for."""
    kind = kind_of(member)
    if kind is not None:
        return _component(value, slot, kind)
    if is_table(member):
        return _table(member, value, slot)
    if is_list(member):
        return _list(member, value, slot)
    raise slot.unusable()  # such as a mapping of components


def _fits(member: Any, value: Any) -> bool:
    """Return whether a value is a list, a table or a component's name, as a type needs it."""
    if is_list(member):
        return isinstance(value, list)
    return isinstance(value, Mapping) or (isinstance(value, str) and kind_of(member) is not None)


def _is_literal(every: Iterable[Any], value: Any) -> bool:
    return any(get_origin(member) is Literal and value in get_args(member) for member in every)


def _plain(annotation: Any, value: Any, slot: Slot) -> Any:
    """Return a value without components and tables."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(strict=True))
        return adapter.validate_json(json.dumps(value, default=str))
    except ValidationError:
        raise slot.refuse(value) from None
    except PydanticUserError as error:
        raise slot.unusable() from error


def _component(value: Any, slot: Slot, kind: str) -> Selected:
    given = {"name": value} if isinstance(value, str) else value
    if "name" not in given and isinstance(slot.option.default, Selected):
        slot, given = slot.in_default(), over(spelled(slot.option.default), given)
    if "name" not in given:
        raise UsageError(f"{slot.where}.name: is missing: name a component of kind {kind} ({slot})")
    name = given["name"]
    if not isinstance(name, str):
        raise UsageError(f"{slot.where}.name: {value_in_words(name)} is not {type_in_words(str)}")
    options = {key: one for key, one in given.items() if key != "name"}
    return slot.place.find(kind, name, slot.where).bind(options, slot.where, slot.place.defaults)


def _list(member: Any, value: list[Any], slot: Slot) -> Any:
    types = item_types(member, len(value))
    if types is None:
        raise slot.refuse(value)
    typed = enumerate(zip(types, value, strict=True))
    return get_origin(member)(_read(item, slot.item(number, type_)) for number, (type_, item) in typed)


def _table(table: Any, value: Mapping[str, Any], slot: Slot) -> Any:
    fields = fields_of(table)
    label = f"{table.__name__} of {slot.place.label}"
    require_known(value, [field.name for field in fields], slot.where, label)
    place = replace(slot.place, label=label)
    values = {field.name: read_option(field, value, place) for field in fields}
    try:
        return table(**values)
    except VaeflowError:
        raise
    except Exception as error:
        found = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UsageError(f"{slot.where}: {found.removeprefix('Value error, ')} ({label})") from error


def _require_constraints(built: Any, value: Any, slot: Slot) -> None:
    """Check what the type says beside its members, such as the length of a list."""
    try:
        TypeAdapter(slot.annotation).validate_python(built, strict=True)
    except ValidationError:
        raise slot.refuse(value) from None
    except PydanticUserError as error:
        raise slot.unusable() from error
