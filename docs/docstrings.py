"""Google-style docstrings to Markdown."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields")
_HEADING = re.compile(rf"({'|'.join(SECTIONS)}):\s*")
_ITEM = re.compile(r" {4}(\*{0,2}\w+):\s+(.*)")
_SPECIAL = re.compile(r"([*_$<>|\[\]])")


@dataclass
class Docstring:
    """A docstring in parts.

    Attributes:
        text: what stands before the first section.
        items: (name, description) pairs by section.
        prose: the text of a section without items.
    """

    text: str = ""
    items: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    prose: dict[str, str] = field(default_factory=dict)

    def described(self, section: str, name: str) -> str:
        """Return an item's description, or an empty text."""
        return dict(self.items.get(section, ())).get(name, "")


def parse(docstring: str | None) -> Docstring:
    """Return a docstring's parts."""
    text: list[str] = []
    sections: dict[str, list[str]] = {}
    lines = text
    for line in inspect.cleandoc(docstring or "").splitlines():
        heading = _HEADING.fullmatch(line)
        if heading:
            lines = sections.setdefault(heading[1], [])
        else:
            lines.append(line)
    found = Docstring("\n".join(text).strip())
    for name, body in sections.items():
        items = _items(body)
        if items:
            found.items[name] = items
        else:
            found.prose[name] = " ".join(" ".join(body).split())
    return found


def escape(text: str) -> str:
    r"""Return a text in which Markdown sees no marks outside of backticks.

    >>> print(escape("[B, *X] by `a * b`"))
    \[B, \*X\] by `a * b`
    """
    parts = text.split("`")
    return "`".join(part if odd % 2 else _SPECIAL.sub(r"\\\1", part) for odd, part in enumerate(parts))


def escape_lines(text: str) -> str:
    """Return a text of several lines escaped, its indented code as it is."""
    return "\n".join(line if line.startswith("    ") else escape(line) for line in text.splitlines())


def cell(text: str) -> str:
    """Return a text, backticks in it as they are, for a cell of a table."""
    return escape(text).replace("\\|", "|").replace("|", "\\|").replace("\n", " ")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table; cells are escaped already."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _items(body: list[str]) -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    for line in body:
        found = _ITEM.fullmatch(line)
        if found:
            items.append((found[1], found[2]))
        elif items and line.strip():
            name, described = items[-1]
            items[-1] = (name, f"{described} {line.strip()}")
        elif line.strip():
            return []
    return items
