"""Where the files of `launch/` are: in the package once it is installed, beside it in a clone."""

from __future__ import annotations

from pathlib import Path

from vaeflow.errors import VaeflowError

PACKAGED = Path(__file__).with_name("launch")
CLONE = Path(__file__).parents[3] / "launch"


def launch_file(name: str) -> str:
    """Return the text of a file of `launch/`.

    Args:
        name: its path in there.

    Raises:
        VaeflowError: if it is in neither place.

    >>> launch_file("local.sh").startswith("#!/usr/bin/env bash")
    True
    """
    places = [place / name for place in (PACKAGED, CLONE)]
    for path in places:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise VaeflowError(
        f"launch/{name} is missing, neither {' nor '.join(map(str, places))} exists: install vaeflow again"
    )
