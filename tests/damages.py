"""What can happen to a run's directory, drawn at random.

A damage is a function that does one kind of it and says what it did. It follows from the number that was drawn and from
the names in the directory, so that it can be done again to a copy. Where a kind finds nothing to damage it returns
None, and another one is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from damage_content import (
    append,
    cut,
    edited_config,
    flip,
    signed_again,
    strange_content,
    strange_manifest,
    strange_value,
)
from damage_names import (
    forbidden,
    link,
    moved_outside,
    only_some_left,
    other_kind,
    remove,
    remove_folder,
    rename,
    stray,
    swap,
    swap_folder,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from damage_scene import Scene

    Damage = Callable[[Random, Scene], str | None]

DAMAGES: tuple[Damage, ...] = (
    *(flip, cut, append, remove, remove_folder, only_some_left, rename, swap, swap_folder),
    *(link, link, moved_outside, other_kind, stray, strange_content, strange_value, edited_config),
    *(signed_again, signed_again, strange_manifest, forbidden),
)


def do_damage(drawn: Random, scene: Scene) -> str:
    """Do one damage, or two at once, and return in words what was done."""
    wanted, done = 1 if drawn.random() < 0.75 else 2, []
    while len(done) < wanted:
        said = drawn.choice(DAMAGES)(drawn, scene)
        if said is not None:
            done.append(said)
    return "; ".join(done)
