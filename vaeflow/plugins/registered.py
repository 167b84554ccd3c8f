"""A registered component, and a selected one with its options."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vaeflow.errors import PluginError, VaeflowError, is_of_another_process
from vaeflow.plugins import options as options_module
from vaeflow.plugins.records import KINDS
from vaeflow.plugins.selected import Selected
from vaeflow.plugins.spelling import as_toml
from vaeflow.plugins.tables import parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vaeflow.plugins.nested import Find
    from vaeflow.plugins.option import Option
    from vaeflow.plugins.records import Component, Origin


@dataclass(frozen=True)
class Registered:
    """A component and where it came from.

    Attributes:
        component: the record that the plugin returned.
        origin: the plugin's distribution, version and module.
        find: looks up the components that its options select; a registry sets it.
    """

    component: Component
    origin: Origin
    find: Find = field(default=options_module.alone, compare=False, repr=False)

    @property
    def label(self) -> str:
        """The component as errors name it, e.g. `encoder 'resnet' of vaeflow-resnet 1.2 (module vaeflow_resnet)`."""
        return f"{self.component.kind} {self.component.name!r} of {self.origin.full}"

    @property
    def doc(self) -> str:
        """The build function's docstring, or an empty string."""
        return inspect.getdoc(self.component.build) or ""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.doc.partition("\n")[0]

    def options(self) -> tuple[Option, ...]:
        """Return the component's options.

        Raises:
            PluginError: if an annotation can't be resolved.
        """
        return options_module.options_of(self.component)

    def bind(self, given: Mapping[str, Any], where: str, defaults: tuple[str, ...] = ()) -> Bound:
        """Validate options and keep them beside the component.

        Args:
            given: values by option, as a TOML file spells them.
            where: the place in the config, for errors.
            defaults: the defaults of other components that selected this one.

        Raises:
            UsageError: if an option is unknown, missing or of the wrong type.
        """
        options = options_module.validate(
            self.component, given, where=where, origin=str(self.origin), find=self.find, defaults=defaults
        )
        return Bound(self, MappingProxyType(options))


@dataclass(frozen=True)
class Bound(Selected):
    """A selected component with validated options, ready to be built.

    Attributes:
        registered: the component and its origin.
        options: every option by name: those that were given and the defaults of the rest. Read-only.
    """

    registered: Registered
    options: Mapping[str, Any]

    @property
    def component(self) -> Component:
        """The component's record."""
        return self.registered.component

    @property
    def name(self) -> str:  # type: ignore[override]  # read-only here
        """The component's name."""
        return self.component.name

    def toml_options(self) -> dict[str, Any]:
        """Return every option as a TOML file spells it."""
        return as_toml(self.options)

    def nested(self) -> dict[str, Bound]:
        """Return the components that its options select, and those of their options, by path: `levels[0].encoder`."""
        return {path.removeprefix("."): bound for path, bound in _inside(self)}

    def build(self, *positional: Any) -> Any:
        """Call the build function.

        Args:
            *positional: what the kind prescribes; see `vaeflow.plugins.records.KINDS`.

        Raises:
            VaeflowError: as the build function raises it.
            tf.errors.OpError: if another process of the job ended.
            PluginError: if the build function raises anything else, or what it returns lacks a member of its type.
        """
        try:
            built = self.component.build(*positional, **self.options)
        except VaeflowError:
            raise
        except Exception as error:
            if is_of_another_process(error):  # variables are created by a collective operation
                raise
            reason = " ".join(str(error).split())
            raise PluginError(
                f"{self.registered.label} could not be built: {type(error).__name__}: {reason}"
            ) from error
        kind = KINDS[self.component.kind]
        missing = [name for name in kind.members if not hasattr(built, name)]
        if missing:
            raise PluginError(
                f"{self.registered.label} built {type(built).__name__}, which has no {', '.join(missing)}, "
                f"not a {kind.returns}"
            )
        return built


def _inside(value: Any) -> Iterator[tuple[str, Bound]]:
    parts = ((f".{name}", one) for name, one in value.options.items()) if isinstance(value, Bound) else parts_of(value)
    for path, part in parts:
        if isinstance(part, Bound):
            yield path, part
        yield from ((f"{path}{below}", bound) for below, bound in _inside(part))
