"""Which values a config may hold: numbers that TensorFlow computes with, and texts that a file can hold."""

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
"""Of the float32 numbers above 0 that kernels do not take for 0."""

LARGEST_WHOLE = 2**63 - 1


def require_representable(tree: Mapping[str, Any], place_of: Callable[[str], str | None]) -> None:
    """Check every number and text of a config, its components' options too.

    Args:
        tree: values by key, nested.
        place_of: returns the file, or the command line, that a dotted key was set in.

    Raises:
        UsageError: if a number is another one, infinite or 0, once it is computed with, or a text is no Unicode.
    """
    for key, value in _leaves(tree):
        problem = _problem_of_text(value) if isinstance(value, str) else _problem_of_number(value)
        if problem:
            place = place_of(key)
            raise UsageError(f"{f'{place}: ' if place else ''}{key}: {shown(value)} {problem}")


def _problem_of_number(value: object) -> str:
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        return f"has more than 64 bits: whole numbers are at most {LARGEST_WHOLE}"
    if not isinstance(value, float) or math.isinf(value):  # infinity stays what it is
        return ""
    if math.isnan(value):
        return "is not a number: no two runs with it are the same"
    if abs(value) > LARGEST:
        return f"is infinite in float32, which TensorFlow computes in: at most {LARGEST:.2g}"
    if 0 < abs(value) < SMALLEST:
        return f"is 0 in float32, which TensorFlow computes in: at least {SMALLEST:.2g}, or 0"
    return ""


def _problem_of_text(text: str) -> str:
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:  # the command line had bytes of another encoding
        return "is not text in UTF-8"
    return ""


def _leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what is no table and no list, with its dotted key. Nested tables may be deep."""
    left: list[tuple[str, Any]] = [(str(key), value) for key, value in reversed(list(tree.items()))]
    while left:
        key, value = left.pop()
        if isinstance(value, Mapping):
            left += [(f"{key}.{inner}", item) for inner, item in reversed(list(value.items()))]
        elif isinstance(value, (list, tuple)):
            left += [(f"{key}.{number}", item) for number, item in reversed(list(enumerate(value)))]
        else:
            yield key, value
