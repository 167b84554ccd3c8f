"""Components as options of other components: the type of such an option, and its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vaeflow.errors import PluginError, nearest
from vaeflow.plugins.records import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import CoreSchema


class Selected:
    """A component that an option selects, with validated options. The build function of the outer one builds it.

    Attributes:
        name: the component's name.
        options: every option by name. Read-only.
    """

    name: str
    options: Mapping[str, Any]

    def build(self, *positional: Any) -> Any:
        """Build the component.

        Args:
            *positional: the positional parameters of its kind, such as `x_shape` for an encoder.

        Raises:
            PluginError: if its build function fails, or what it returns lacks a member of its type.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Takes:
    """The kind of component that an option takes: `encoder: Annotated[Selected, Takes("encoder")]`.

    Attributes:
        kind: one of the kinds that `vaeflow plugins` lists.

    Raises:
        PluginError: if there is no such kind.
    """

    kind: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PluginError(f"Takes({self.kind!r}): unknown kind; {nearest(self.kind, KINDS)}")

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        """Return the schema for pydantic: any `Selected`, since vaeflow validates its name and options."""
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(Selected)


@dataclass(frozen=True)
class Default(Selected):
    """What `select` returns: a name and options that are not validated yet."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"select({', '.join([repr(self.name), *(f'{key}={value!r}' for key, value in self.options.items())])})"

    def build(self, *positional: Any) -> Any:
        """Refuse: only what the build function gets can be built."""
        del positional
        raise PluginError(f"{self!r} is only a default: call build(...) of the option inside the build function")


def select(name: str, /, **options: Any) -> Selected:
    """Return the default of an option that takes a component.

    Args:
        name: the component's name.
        **options: its options; the others have their own defaults.

    >>> select("mlp", hidden=(64,))
    select('mlp', hidden=(64,))
    """
    return Default(name, options)
