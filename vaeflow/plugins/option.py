"""An option: a keyword-only parameter of a build function, or a field of a table that is an option."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from vaeflow.plugins.type_names import type_in_code


@dataclass(frozen=True)
class Option:
    """A typed option.

    Attributes:
        name: of the parameter or the field; the key in a config.
        annotation: its type, resolved.
        default: its default, or `inspect.Parameter.empty` where a value must be given.
    """

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether a config must set it."""
        return self.default is inspect.Parameter.empty

    def __str__(self) -> str:
        """Return the option as written in the signature.

        >>> str(Option("depth", int, 32))
        'depth: int = 32'
        """
        default = "" if self.required else f" = {self.default!r}"
        return f"{self.name}: {type_in_code(self.annotation)}{default}"
