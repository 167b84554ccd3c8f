"""A run as notebooks show it: one line and its pictures."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PICTURES = 6
LARGEST = 1 << 20  # bytes; larger pictures would make the notebook's file large
WIDTH = 320  # pixels


def html_of(line: str, run_dir: Path | None) -> str:
    """Return a line of text and the pictures of a run's `plots` folder, as HTML without links to files.

    Args:
        line: above the pictures.
        run_dir: the run's directory; None if there is none yet.
    """
    paths = sorted((run_dir / "plots").glob("*.png")) if run_dir else []
    found = [path for path in paths if path.stat().st_size <= LARGEST]
    return f"<div><p><code>{html.escape(line)}</code></p>{''.join(map(_picture, found[:PICTURES]))}</div>"


def _picture(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    name = html.escape(path.stem)
    return f'<img src="data:image/png;base64,{content}" alt="{name}" title="{name}" width="{WIDTH}">'
