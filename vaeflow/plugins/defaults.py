"""Check that no default selects components without end."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from vaeflow.errors import PluginError, UsageError
from vaeflow.plugins.nested import EndlessError, Place, read_option
from vaeflow.plugins.selected import Selected
from vaeflow.plugins.tables import parts_of

if TYPE_CHECKING:
    from vaeflow.plugins.option import Option
    from vaeflow.plugins.registered import Registered


def require_finite(registered: Registered) -> None:
    """Check the defaults of a component's options. Any other fault of a default is reported when it is used.

    Raises:
        EndlessError: if a default selects a component whose defaults select the first one again.
    """
    parameters = inspect.signature(registered.component.build).parameters.values()
    names = {parameter.name for parameter in parameters if _holds_component(parameter.default)}
    if not names:
        return
    component = registered.component
    place = Place(component.kind, component.kind, f"{component.name} of {registered.origin}", registered.find)
    try:
        for option in registered.options():
            if option.name in names:
                _try(option, place)
    except EndlessError:
        raise
    except PluginError:  # a type that can't be resolved
        return


def _try(option: Option, place: Place) -> None:
    try:
        read_option(option, {}, place)
    except EndlessError:
        raise
    except UsageError:
        return


def _holds_component(value: Any) -> bool:
    try:
        return isinstance(value, Selected) or any(_holds_component(part) for _, part in parts_of(value))
    except PluginError:  # a table whose types can't be resolved
        return False
