"""Draw the table of floors in architecture.md as docs/images/floors.svg: python docs/draw_floors.py."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
PICTURE = DOCS / "images" / "floors.svg"
ROW = re.compile(r"^\| (`[^|]+`) \| ([^|]+) \|$", re.MULTILINE)
LEFT, WIDTH, HEIGHT, GAP, NAMES = 44, 916, 28, 6, 180  # pixels; the names' column

# The boxes have a fill of their own, and the arrow a grey between, so that light and dark pages show all of it.
STYLE = """\
  <style>
    text { font-family: system-ui, sans-serif; font-size: 13px; fill: #1c2733 }
    .name { font-family: ui-monospace, monospace; font-weight: bold }
    .arrow { fill: #7d8794 }
    rect { fill: #e6edf5; stroke: #7d8794 }
    path { fill: none; stroke: #7d8794; stroke-width: 2 }
  </style>"""


def floors(page: str) -> list[tuple[str, str]]:
    r"""Return the names and the task of each floor, from top to bottom.

    >>> floors("## Floors\n\n| package | task |\n| --- | --- |\n| `a`, `b` | does `x` |\n\n## Next\n| `c` | no |\n")
    [('a, b', 'does x')]
    """
    table = page.partition("## Floors")[2].partition("\n## ")[0]
    return [(names.replace("`", ""), task.replace("`", "")) for names, task in ROW.findall(table)]


def draw(rows: list[tuple[str, str]]) -> str:
    """Return the picture: a box for each floor, and an arrow down."""
    height = len(rows) * (HEIGHT + GAP)
    boxes = [_box(number * (HEIGHT + GAP), names, task) for number, (names, task) in enumerate(rows)]
    x, end = LEFT - 12, height - GAP
    beside = f"translate({x - 12} {height // 2}) rotate(-90)"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 2} {height}" role="img">',
        "  <title>The packages of vaeflow; each imports only from those below it</title>",
        STYLE,
        f'  <path d="M {x} 2 V {end} M {x - 5} {end - 8} L {x} {end} L {x + 5} {end - 8}"/>',
        f'  <text class="arrow" transform="{beside}" text-anchor="middle">imports only downwards</text>',
        *boxes,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _box(top: int, names: str, task: str) -> str:
    middle = top + HEIGHT // 2 + 5
    return (
        f'  <rect x="{LEFT}" y="{top + 1}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>\n'
        f'  <text class="name" x="{LEFT + 10}" y="{middle}">{escape(names)}</text>\n'
        f'  <text x="{LEFT + NAMES}" y="{middle}">{escape(task)}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(floors((DOCS / "architecture.md").read_text())))
