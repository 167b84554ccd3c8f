"""Side effects of a plugin's import, found in a separate process: in this one it has been imported already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaeflow.plugin_kit.checks.require import require
from vaeflow.plugin_kit.checks.side_effects import SideEffects, require_no_pickles, watched

if TYPE_CHECKING:
    from vaeflow.plugin_kit.checks.subject import Subject

PATIENCE = 300  # seconds


def require_clean_import(subject: Subject) -> None:
    """Require a component's own code not to write files or pickle while it is imported.

    Args:
        subject: the component.
    """
    found = subject.forks.call(__name__, [subject.place, subject.registry.modules], PATIENCE)
    effects = SideEffects(**found)
    require_no_pickles(effects, when=" while it is imported")
    written = ", ".join(dict.fromkeys(effects.written))
    require(not written, f"it writes {written} while it is imported, which every rank of a job would do")


def answer(request: tuple[str, list[str]]) -> dict[str, Any]:
    """Load plugins in the separate process, and return the side effects of code of one place."""
    from vaeflow.plugins.registry import Registry

    place, modules = request
    with watched(place) as effects:
        Registry.load(modules)
    return vars(effects)
