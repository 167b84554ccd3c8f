"""What a plugin does while it is imported, in a process of its own: here it has been imported already."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from vaeflow.checks.rule import BrokenRuleError, require
from vaeflow.checks.watching import Deeds, require_no_pickles, watched

if TYPE_CHECKING:
    from vaeflow.checks.subject import Subject

PATIENCE = 300  # seconds


def require_clean_import(subject: Subject) -> None:
    """Break the rule if a component's own code writes files or pickles while it is imported, as every rank does.

    Args:
        subject: the component.
    """
    asked = json.dumps([subject.place, subject.registry.modules])
    command = [sys.executable, "-m", "vaeflow.checks.importing"]
    try:
        done = subprocess.run(  # noqa: S603
            command, input=asked, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise BrokenRuleError(f"its import in a process of its own has not ended after {PATIENCE} s") from None
    if done.returncode:
        raise BrokenRuleError(f"it can't be imported in a process of its own: {done.stderr.strip().splitlines()[-1:]}")
    deeds = Deeds(**json.loads(done.stdout.splitlines()[-1]))
    require_no_pickles(deeds, when=" while it is imported")
    written = ", ".join(dict.fromkeys(deeds.written))
    require(not written, f"it writes {written} while it is imported, and every rank of a job would")


def main() -> None:
    """Load the plugins that standard input names, and print what code of one place did."""
    from vaeflow.plugins.registry import Registry

    place, modules = json.load(sys.stdin)
    with watched(place) as deeds:
        Registry.load(modules)
    sys.stdout.write(f"\n{json.dumps(vars(deeds))}\n")


if __name__ == "__main__":
    main()
