"""Check the names of new plugins."""

from __future__ import annotations

import keyword
import re

from vaeflow.config.resolve import METRICS_OF_VAEFLOW
from vaeflow.config.sources import parse_value
from vaeflow.errors import UsageError, nearest
from vaeflow.plugin_kit.scaffold.template import names_in, template
from vaeflow.plugins.records import KINDS
from vaeflow.plugins.registry import Registry

_KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def check(kind: str, name: str) -> None:
    """Check a kind and a name before anything is written.

    Raises:
        UsageError: if there is no such kind, or the name can't be used or is taken; the message suggests another.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind {kind!r}; {nearest(kind, KINDS)}")
    if not _KEBAB.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name in kebab-case: small letters, digits and single hyphens, a letter first"
            f"{_suggested(name)}"
        )
    if name.startswith("vaeflow"):
        raise UsageError(f"{name!r}: the package's name starts with vaeflow already, leave it out{_suggested(name)}")
    snake = name.replace("-", "_")
    if keyword.iskeyword(snake) or keyword.issoftkeyword(snake) or parse_value(name) != name:
        raise UsageError(f"{name!r} is a word of Python or TOML; choose another, such as 'my-{name}'")
    if snake in names_in(template(f"{kind}.py")) - {"my_name"}:
        raise UsageError(f"{name!r} is used in the code of the template; choose another, such as 'my-{name}'")
    if kind == "metric" and snake in METRICS_OF_VAEFLOW:
        raise UsageError(f"every evaluation logs {name!r} already; choose another, such as 'my-{name}'")
    registry = Registry.load()
    if name in registry.names(kind):
        origin = registry.get(kind, name).origin
        raise UsageError(f"{kind} {name!r} exists already, in {origin}; choose another, such as 'my-{name}'")


def _suggested(name: str) -> str:
    r"""Return the nearest valid name.

    >>> _suggested("MyNet 2"), _suggested("vaeflow-wide"), _suggested("!")
    ("; for example 'my-net-2'", "; for example 'wide'", '')
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower().removeprefix("vaeflow")
    made = re.sub(r"[^a-z0-9]+", "-", apart).lstrip("-0123456789").rstrip("-")
    return f"; for example {made!r}" if made else ""
