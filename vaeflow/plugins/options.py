"""A build function's keyword-only parameters as typed options, and the rules of its signature."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from vaeflow.errors import PluginError, UsageError, nearest
from vaeflow.plugins.nested import Place, read_option, require_known
from vaeflow.plugins.nested_types import is_nested
from vaeflow.plugins.option import Option
from vaeflow.plugins.records import KINDS, MODEL_KEYS, Component
from vaeflow.plugins.spelling import spelled
from vaeflow.plugins.type_names import admits_none, type_in_words, value_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vaeflow.plugins.nested import Find

TYPES = (
    "int, float, bool, str, Literal[...], tuple[...], X | None, or Annotated[X, pydantic.Field(...)] of these, "
    'Annotated[Selected, Takes("encoder")], or a dataclass of these'
)


def check_signature(component: Component) -> None:
    """Check a build function against the rules of its kind.

    Raises:
        PluginError: if it breaks one; the message names the rule.
    """
    label = f"{component.kind} {component.name!r}"
    if not callable(component.build):
        raise PluginError(f"{label}: build must be a function, not {value_in_words(component.build)}")
    _check_uses(component, label)
    expected = KINDS[component.kind].parameters
    positional = 0
    for parameter in _parameters(component.build):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PluginError(f"{label}: its build function takes {parameter}; each option is a parameter of its own")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            positional += 1
        elif parameter.annotation is parameter.empty:
            raise PluginError(f"{label}: its option {parameter.name!r} has no type; write e.g. depth: int = 2")
        elif parameter.name == "name":
            raise PluginError(f"{label}: an option can't be called 'name', which selects the component in a config")
    if positional != len(expected):
        wanted = KINDS[component.kind].signature
        raise PluginError(
            f"{label}: its build function takes {positional} positional parameters, not {len(expected)}: "
            f"{component.kind}s are built by {wanted}, and options come after the *"
        )


def _check_uses(component: Component, label: str) -> None:
    if component.uses and component.kind != "model":
        raise PluginError(f"{label}: uses = {component.uses!r} is for kind model only")
    for key in component.uses:
        if key not in MODEL_KEYS:
            raise PluginError(f"{label}: uses has {key!r}; {nearest(key, MODEL_KEYS)}")


def options_of(component: Component) -> tuple[Option, ...]:
    """Return a component's options in the order of its signature.

    Only their own annotations are resolved: the other ones may name types that exist for type checkers alone.

    Raises:
        PluginError: if an annotation can't be resolved or isn't a type that a config can hold.
    """
    parameters = [p for p in _parameters(component.build) if p.kind is p.KEYWORD_ONLY]
    holder = type("Options", (), {"__annotations__": {p.name: p.annotation for p in parameters}})
    try:
        hints = get_type_hints(holder, globalns=_namespace(component.build), include_extras=True)
    except PluginError as error:
        raise PluginError(f"{component.kind} {component.name!r}: {error}") from error
    except Exception as error:
        raise PluginError(
            f"{component.kind} {component.name!r}: the type of an option can't be resolved at run time ({error}); "
            "import what it names outside of TYPE_CHECKING"
        ) from error
    return tuple(Option(p.name, hints[p.name], p.default) for p in parameters)


def alone(kind: str, name: str, where: str) -> Any:
    """Find no component: the default of `validate`."""
    raise UsageError(f"{where}: {kind} {name!r} can't be looked up without a registry")


def validate(
    component: Component,
    given: Mapping[str, Any],
    *,
    where: str,
    origin: str,
    find: Find = alone,
    defaults: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the options to build a component with: those given, validated, and the defaults of the rest.

    Args:
        component: whose options they are.
        given: values by option, as a TOML file spells them: lists for tuples, 'none' for None.
        where: the place in the config, for errors, such as 'encoder'.
        origin: the distribution and version, for errors.
        find: looks up components that options select.
        defaults: the defaults that selected this component, see `vaeflow.plugins.nested.Place`.

    Raises:
        UsageError: if a value is of the wrong type, an option is unknown or a required one is missing.
        PluginError: if the build function breaks the rules, e.g. a default that isn't of its type.
    """
    label = f"{component.name} of {origin}"
    options = {option.name: option for option in options_of(component)}
    require_known(given, options, where, label)
    nested = {name: option for name, option in options.items() if is_nested(option.annotation)}
    plain = tuple(option for name, option in options.items() if name not in nested)
    json_given = {
        name: None if value == "none" and admits_none(options[name].annotation) else value
        for name, value in given.items()
        if name not in nested
    }
    adapter = _adapter(component, plain)
    try:
        validated = adapter.validate_json(json.dumps(json_given, default=str))
    except ValidationError as error:
        raise _in_words(error, options, given, where, label) from None
    place = Place(where, component.kind, label, find, defaults)
    tables = {name: spelled(value) for name, value in given.items() if name in nested}
    return {
        name: read_option(option, tables, place) if name in nested else getattr(validated, name)
        for name, option in options.items()
    }


def _adapter(component: Component, options: tuple[Option, ...]) -> TypeAdapter[Any]:
    fields = [
        (option.name, option.annotation)
        if option.required
        else (option.name, option.annotation, dataclasses.field(default=option.default))
        for option in options
    ]
    config = ConfigDict(strict=True, validate_default=True)
    try:
        # A dataclass and not a pydantic model: an option may be called `copy` or `json`.
        made = dataclasses.make_dataclass(
            "Options", fields, kw_only=True, frozen=True, namespace={"__pydantic_config__": config}
        )
        return TypeAdapter(made)
    except (PydanticUserError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise PluginError(f"{component.kind} {component.name!r}: options must be of type {TYPES} ({reason})") from error


def _in_words(
    error: ValidationError, options: Mapping[str, Option], given: Mapping[str, Any], where: str, label: str
) -> UsageError:
    """Return pydantic's first error as one line."""
    option = options[str(error.errors()[0]["loc"][0])]
    allowed = type_in_words(option.annotation)
    if option.name in given:
        value = value_in_words(given[option.name])
        return UsageError(f"{where}.{option.name}: {value} is not {allowed} ({label} takes {option})")
    if option.required:
        return UsageError(f"{where}.{option.name}: missing, but {label} needs it: {option}, {allowed}")
    return PluginError(f"{where}.{option.name}: the default of {label} is not {allowed} (it has {option})")


def _parameters(build: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(build).parameters.values())
    except (TypeError, ValueError) as error:
        raise PluginError(f"{build!r} has no signature that can be read; wrap it in a function") from error


def _namespace(build: Any) -> dict[str, Any]:
    """Return the globals that a build function's annotations are written in."""
    function = inspect.unwrap(getattr(build, "func", build))
    function = function.__init__ if inspect.isclass(function) else function
    found = getattr(function, "__globals__", None)
    return found if found is not None else vars(sys.modules[build.__module__])
