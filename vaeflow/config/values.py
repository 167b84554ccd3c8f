"""Check that numbers of a config are representable in float32 and that texts are valid Unicode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vaeflow.echo import shown
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGEST = (2 - 2**-23) * 2.0**127
SMALLEST = 2.0**-126
"""Smallest positive float32 number that kernels do not flush to 0."""

LARGEST_WHOLE = 2**63 - 1


def require_representable(tree: Mapping[str, Any], place_of: Callable[[str], str | None]) -> None:
    """Check every number and text of a config, including options of components.

    Args:
        tree: values by key, nested.
        place_of: returns the file, or the command line, that a dotted key was set in.

    Raises:
        UsageError: if a number is out of range in float32 or int64, or a text is not valid Unicode.
    """
    for key, value in _leaves(tree):
        problem = _problem_of_text(value) if isinstance(value, str) else _problem_of_number(value)
        if problem:
            place = place_of(key)
            raise UsageError(f"{f'{place}: ' if place else ''}{key}: {shown(value)} {problem}")


def _problem_of_number(value: object) -> str:
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        return f"has more than 64 bits: whole numbers are at most {LARGEST_WHOLE}"
    if not isinstance(value, float) or math.isinf(value):  # infinity is representable
        return ""
    if math.isnan(value):
        return "is not a number"
    if abs(value) > LARGEST:
        return f"is infinite in float32: numbers are at most {LARGEST:.2g}"
    if 0 < abs(value) < SMALLEST:
        return f"is 0 in float32: positive numbers are at least {SMALLEST:.2g}"
    return ""


def _problem_of_text(text: str) -> str:
    if "\0" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of another encoding on the command line
        return "is not text in UTF-8"
    return ""


def _leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each value that is not a table or list, with its dotted key. Not recursive: tables may be deeply nested."""
    left: list[tuple[str, Any]] = [(str(key), value) for key, value in reversed(list(tree.items()))]
    while left:
        key, value = left.pop()
        if isinstance(value, Mapping):
            left += [(f"{key}.{inner}", item) for inner, item in reversed(list(value.items()))]
        elif isinstance(value, (list, tuple)):
            left += [(f"{key}[{number}]", item) for number, item in reversed(list(enumerate(value)))]
        else:
            yield key, value
